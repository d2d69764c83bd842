// Serves the control API (control.proto) on a unix socket.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>

#include "config/result.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

/// One client's request under way. Shared: whoever finishes it may live longer than the client,
/// whose going away is not an error. On the io_context's thread only, its last release included:
/// a call released unfinished is answered `closed`.
class ControlCall {
 public:
  virtual ~ControlCall() = default;
  [[nodiscard]] virtual const control::Request& request() const = 0;
  /// Often: a client that reads slowly gets the newest.
  virtual void progress(const std::string& step, double fraction) = 0;
  /// Exactly once: an error, done, status or verification.
  virtual void finish(control::Reply reply) = 0;
  /// Whoever asked has gone away: what is long and changes nothing yet may end.
  [[nodiscard]] virtual bool abandoned() const { return false; }

  void fail(const Error& error);
  void done(std::string message);
};

/// The guest that a request is about; empty for requests about none.
[[nodiscard]] std::string guest_of(const control::Request& request);

/// Where the replies to one request go.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  /// Any number of them; after the end none matters.
  virtual void progress(const control::Progress& progress) = 0;
  /// The end.
  virtual void finish(const control::Reply& reply) = 0;
  /// False: nobody listens any more.
  [[nodiscard]] virtual bool open() const = 0;
};

[[nodiscard]] std::shared_ptr<ControlCall> make_call(std::shared_ptr<ReplySink> sink,
                                                     control::Request request);
/// One that nobody outside waits for: the daemon's own. A call released unfinished says
/// nothing.
[[nodiscard]] std::shared_ptr<ControlCall> make_order(
    control::Request request, std::function<void(const control::Reply&)> done);
[[nodiscard]] control::Reply error_reply(const Error& error);

using HandleCall = std::function<void(std::shared_ptr<ControlCall>)>;

class ControlServer {
 public:
  virtual ~ControlServer() = default;

  /// Makes the socket's directory (0755) and the socket (0600). A socket on which another daemon
  /// answers is `conflict`; a dead one is replaced. `handle` is called on the io_context's thread,
  /// for well-formed requests that ask for something.
  [[nodiscard]] static Result<std::unique_ptr<ControlServer>> listen(boost::asio::io_context& io,
                                                                     const std::string& path,
                                                                     HandleCall handle);
  /// Closes the listener and all calls; removes the socket. Idempotent; the io_context's thread.
  virtual void stop() = 0;
};

/// The kind as control::Error carries it: "conflict".
[[nodiscard]] std::string_view kind_name(ErrorKind kind);

}  // namespace understudy::failover
