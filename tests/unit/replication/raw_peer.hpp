// A peer that says byte for byte what a test wants.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>

#include "config/settings.hpp"
#include "machine_frames.hpp"

namespace understudy::replication {

class RawPeer {
 public:
  explicit RawPeer(const Endpoint& at) : socket_{*io_} {
    socket_.connect({boost::asio::ip::make_address_v4(at.address), at.port});
    port_ = socket_.local_endpoint().port();
  }
  explicit RawPeer(boost::asio::ip::tcp::acceptor& acceptor,
                   std::shared_ptr<boost::asio::io_context> io)
      : io_{std::move(io)}, socket_{acceptor.accept()} {}

  void say(std::span<const std::byte> bytes) {
    boost::system::error_code code;  // the other end may have hung up on us
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), code);
  }
  void say(const TestFrame& frame) {
    say(encode_header(frame.header, frame.payload));
    say(frame.payload);
  }
  void hang_up_writing() {
    boost::system::error_code code;
    socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_send, code);
  }
  /// The next frame; nullopt: the other end has hung up.
  std::optional<TestFrame> hear() {
    HeaderBytes bytes;
    boost::system::error_code code;
    boost::asio::read(socket_, boost::asio::buffer(bytes), code);
    if (code) return std::nullopt;
    TestFrame frame{decode_header(bytes).value(), {}};
    frame.payload.resize(frame.header.payload_bytes);
    boost::asio::read(socket_, boost::asio::buffer(frame.payload), code);
    if (code) return std::nullopt;
    return frame;
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
  std::shared_ptr<boost::asio::io_context> io_ = std::make_shared<boost::asio::io_context>();
  boost::asio::ip::tcp::socket socket_;
  std::uint16_t port_{};
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
