// A peer that says byte for byte what a test wants.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>

#include "config/names.hpp"
#include "machine_frames.hpp"
#include "replication/frame_stream.hpp"

namespace understudy::replication {

class RawPeer {
 public:
  using Key = std::shared_ptr<const Credentials>;

  /// Without a key in clear text; with one the handshake is done when it is made.
  explicit RawPeer(const Endpoint& at, const Key& key = {})
      : socket_{*io_}, stream_{FrameStream::begin(key, HandshakeSide::client).value()} {
    socket_.connect({boost::asio::ip::make_address_v4(at.address), at.port});
    port_ = socket_.local_endpoint().port();
    shake_hands();
  }
  explicit RawPeer(boost::asio::ip::tcp::acceptor& acceptor,
                   std::shared_ptr<boost::asio::io_context> io, const Key& key = {})
      : io_{std::move(io)},
        socket_{acceptor.accept()},
        stream_{FrameStream::begin(key, HandshakeSide::server).value()} {
    shake_hands();
  }

  void say(std::span<const std::byte> bytes) {
    boost::system::error_code code;  // the other end may have hung up on us
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), code);
  }
  void say(const TestFrame& frame) {
    say_frame(encode_header(frame.header, frame.payload), frame.payload);
  }
  /// As it is, right or wrong, but sealed if there is a key.
  void say_frame(const HeaderBytes& header, std::span<const std::byte> payload) {
    std::vector<std::byte> frame(header.size() + payload.size());
    std::ranges::copy(payload, std::ranges::copy(header, frame.begin()).out);
    if (!stream_.secured()) return say(frame);
    std::vector<std::byte> record(frame.size() + FrameStream::overhead_bytes);
    stream_.seal(frame, record);
    say(record);
  }
  void hang_up_writing() {
    boost::system::error_code code;
    socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_send, code);
  }
  /// The next frame; nullopt: the other end has hung up.
  std::optional<TestFrame> hear() {
    while (true) {
      const auto step = stream_.advance();
      if (!step) return hear_nothing_more();
      if (*step == FrameStream::Step::header) stream_.place(place_);
      if (*step == FrameStream::Step::frame) {
        const auto payload = stream_.payload();
        return TestFrame{stream_.header(), {payload.begin(), payload.end()}};
      }
      if (*step == FrameStream::Step::more && !read_more()) return std::nullopt;
    }
  }
  /// Ours.
  [[nodiscard]] std::uint16_t port() const { return port_; }
  bool hung_up_on() {
    while (hear()) {
    }
    return true;
  }
  HelloReply answer() {
    HelloReply reply;
    const auto frame = hear();
    REQUIRE(frame);
    REQUIRE(frame->header.type == FrameType::hello_reply);
    REQUIRE(decode_message(frame->payload, FrameType::hello_reply, reply));
    return reply;
  }

 private:
  void shake_hands() {
    say(stream_.take_output());
    while (!stream_.ready()) {
      const bool good = stream_.advance().has_value();
      say(stream_.take_output());
      if (!good || (!stream_.ready() && !read_more())) return;
    }
  }
  bool read_more() {
    const auto room = stream_.room();
    const auto space = room[0].empty() ? room[1] : room[0];
    boost::system::error_code code;
    stream_.filled(socket_.read_some(boost::asio::buffer(space.data(), space.size()), code));
    return !code;
  }
  std::nullopt_t hear_nothing_more() {
    boost::system::error_code code;
    std::array<std::byte, 4096> dropped;
    while (!code) socket_.read_some(boost::asio::buffer(dropped), code);
    return std::nullopt;
  }

  std::shared_ptr<boost::asio::io_context> io_ = std::make_shared<boost::asio::io_context>();
  boost::asio::ip::tcp::socket socket_;
  std::uint16_t port_{};
  FrameStream stream_;
  std::vector<std::byte> place_ = std::vector<std::byte>(limits::frame_payload_bytes);
};

inline TestFrame hello_frame(std::uint64_t id, const Hello& hello) {
  return make_frame(FrameType::hello, id, 0, 0, hello.SerializeAsString());
}

inline std::vector<std::byte> noise(std::uint64_t seed, std::size_t count) {
  std::mt19937_64 random{seed};
  std::vector<std::byte> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace understudy::replication
