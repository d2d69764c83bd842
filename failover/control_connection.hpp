// One client of the control API, from its connection to the end of its reply. The io_context's
// thread.
//
//   reading ──request──► serving ──finish──► replying ──written──► closed
//      └── too slow, too long, not a request: replying{error} ──────┘   (client gone: closed)
#pragma once

#include <array>
#include <memory>
#include <string>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/limits.hpp"
#include "failover/control_framing.hpp"
#include "failover/control_server.hpp"
#include "failover/reply_queue.hpp"

namespace understudy::failover {

class ControlConnection final : public ReplySink,
                                public std::enable_shared_from_this<ControlConnection> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;
  using OnClosed = std::function<void(const std::shared_ptr<ControlConnection>&)>;

  ControlConnection(Socket socket, HandleCall handle, OnClosed on_closed);

  void start();
  /// Answers at once, without reading.
  void refuse(const Error& error);
  void close();

  // for the call
  void progress(const control::Progress& progress) override;
  void finish(const control::Reply& reply) override;
  [[nodiscard]] bool open() const override { return socket_.is_open(); }

 private:
  void read();
  void on_bytes(std::size_t count);
  void serve(const std::string& body);
  void write();
  void arm_deadline();

  Socket socket_;
  boost::asio::steady_timer deadline_;
  HandleCall handle_;
  OnClosed on_closed_;
  ControlDecoder decoder_{limits::control_request_bytes};
  std::array<char, 4096> chunk_{};
  ReplyQueue replies_;
  bool serving_{};   ///< the request is read
  bool finished_{};  ///< a final reply was given
};

}  // namespace understudy::failover
