// A Link over TCP (Boost.Asio). In order and without loss while it lasts.
//
// Payloads are read straight to the place that the owner gives, together with the next frame's
// header in one call of the kernel. A frame is handed to the kernel inside `send`; what the kernel
// does not take waits in a bounded queue and leaves with others in one call.
//
// With credentials, a handshake comes first and each frame travels as a record (frame_stream.hpp).
// Frames sent before it is done wait. One that fails ends the link with a sentence that says what
// the peer lacks; the peer is told, too, if it listens. Who sets the link up bounds the time.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "replication/frame_stream.hpp"
#include "replication/link.hpp"

namespace understudy::replication {

namespace asio = boost::asio;

/// Runs on its socket's io_context, which one thread runs. Alive, once started, until closed or
/// down: the pending operations own it.
class AsioTcpLink final : public Link, public std::enable_shared_from_this<AsioTcpLink> {
 public:
  /// A new connection; in clear text without credentials. `events` must outlive the link's end.
  [[nodiscard]] static std::shared_ptr<AsioTcpLink> start(
      asio::ip::tcp::socket socket, LinkEvents& events,
      std::shared_ptr<const Credentials> credentials, HandshakeSide side);

  /// Goes on where another link has released it.
  [[nodiscard]] static std::shared_ptr<AsioTcpLink> start(asio::ip::tcp::socket socket,
                                                          LinkEvents& events, FrameStream stream);

  /// Large kernel buffers, no delay, dead peers noticed. Before connect or listen, for the window.
  static void tune(int fd);

  [[nodiscard]] bool send(std::span<const std::byte> frame) override;
  [[nodiscard]] bool send_copy(std::span<const std::byte> frame) override;
  void finish() override;
  void close() override;

  /// What has been read ahead goes with it.
  [[nodiscard]] std::unique_ptr<Connection> release() override;
  [[nodiscard]] LinkCounters counters() override;

 private:
  /// Room for any frame as a record; not cleared when it is made or used again.
  using Buffer = std::unique_ptr<std::byte[]>;
  static constexpr std::size_t buffer_bytes = limits::frame_bytes + FrameStream::overhead_bytes;

  struct Outgoing {
    Buffer buffer;                     ///< null if the owner keeps the frame
    std::span<const std::byte> bytes;  ///< what has not left yet
  };

  AsioTcpLink(asio::ip::tcp::socket socket, LinkEvents& events, FrameStream stream);
  void begin();

  [[nodiscard]] bool accepts() const;
  [[nodiscard]] Buffer take_buffer();
  [[nodiscard]] Outgoing copy(std::span<const std::byte> bytes);
  [[nodiscard]] Outgoing sealed(std::span<const std::byte> frame);
  void seal_waiting();
  void flush();
  void write_some();
  void wait_writable();
  void tell_writable();

  void wait_readable();
  void on_readable();
  [[nodiscard]] bool read_some();
  [[nodiscard]] bool place_frame();
  void deliver();
  void discard();

  void say_last_word();
  void break_down(Error reason);
  void break_down_later(Error reason);

  asio::ip::tcp::socket socket_;
  LinkEvents& events_;
  bool closed_{};
  bool finishing_{};

  FrameStream stream_;

  std::deque<Outgoing> waiting_;  ///< for the handshake's end
  std::deque<Outgoing> queue_;    ///< for the kernel
  std::vector<Buffer> spare_;
  std::vector<asio::const_buffer> gather_;
  bool waiting_writable_{};
  bool refused_{};  ///< a send: on_writable is owed

  std::uint64_t received_bytes_{};
  std::uint64_t sent_frames_{};
};

}  // namespace understudy::replication
