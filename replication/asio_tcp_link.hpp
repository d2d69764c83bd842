// A Link over TCP (Boost.Asio). In order and without loss while it lasts.
//
// Payloads are read straight to the place that the owner gives, together with the next frame's
// header in one call of the kernel. A frame is handed to the kernel inside `send`; what the kernel
// does not take waits in a bounded queue and leaves with others in one call.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "replication/link.hpp"

namespace understudy::replication {

namespace asio = boost::asio;

/// Runs on its socket's io_context, which one thread runs. Alive, once started, until closed or
/// down: the pending operations own it.
class AsioTcpLink final : public Link, public std::enable_shared_from_this<AsioTcpLink> {
 public:
  /// `events` must outlive the link's end.
  [[nodiscard]] static std::shared_ptr<AsioTcpLink> start(asio::ip::tcp::socket socket,
                                                          LinkEvents& events);

  /// Large kernel buffers, no delay, dead peers noticed. Before connect or listen, for the window.
  static void tune(int fd);

  [[nodiscard]] bool send(std::span<const std::byte> frame) override;
  [[nodiscard]] bool send_copy(std::span<const std::byte> frame) override;
  void finish() override;
  void close() override;

  [[nodiscard]] std::unique_ptr<Connection> release() override;
  [[nodiscard]] LinkCounters counters() override;

 private:
  struct Outgoing {
    std::vector<std::byte> copy;       ///< empty if the owner keeps the frame
    std::span<const std::byte> bytes;  ///< what has not left yet
  };

  AsioTcpLink(asio::ip::tcp::socket socket, LinkEvents& events);

  [[nodiscard]] bool accepts() const;
  void enqueue(Outgoing outgoing);
  void flush();
  void write_some();
  void wait_writable();

  void wait_readable();
  void on_readable();
  [[nodiscard]] bool read_some();
  [[nodiscard]] bool begin_frame();
  [[nodiscard]] bool payload_complete() const;
  void deliver();
  void discard();

  void break_down(Error reason);
  void break_down_later(Error reason);

  asio::ip::tcp::socket socket_;
  LinkEvents& events_;
  bool closed_{};
  bool finishing_{};

  std::deque<Outgoing> queue_;
  std::vector<asio::const_buffer> gather_;
  bool waiting_writable_{};
  bool refused_{};  ///< a send: on_writable is owed

  HeaderBytes next_header_{};
  std::size_t next_header_read_{};
  std::optional<FrameHeader> header_;
  std::span<std::byte> place_;
  std::size_t payload_read_{};
  std::uint64_t received_bytes_{};
  std::uint64_t sent_frames_{};
};

}  // namespace understudy::replication
