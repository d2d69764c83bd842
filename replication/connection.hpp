// Where links come from. A connection is a link that has no thread yet: a listener was given it, a
// dialer made it, or a greeter gave it away.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>

#include "config/names.hpp"
#include "replication/link.hpp"
#include "replication/security.hpp"

namespace understudy::replication {

namespace asio = boost::asio;

/// Closed when destroyed, unless started.
class Connection {
 public:
  virtual ~Connection() = default;

  /// Gives it to the thread that runs `io`; `events` must outlive the link's end. Once.
  [[nodiscard]] virtual std::shared_ptr<Link> start(asio::io_context& io, LinkEvents& events) = 0;

  /// Whether the peer has shown already that it has the key; then it is limited elsewhere.
  [[nodiscard]] virtual bool vouched() const { return false; }

  /// For the log: "192.0.2.7:40112".
  [[nodiscard]] virtual std::string peer() const = 0;
};

/// Where a backup is heard. Calls `arrived` on the thread of the io_context that it was made with.
class Listener {
 public:
  using Arrived = std::function<void(std::unique_ptr<Connection>)>;
  virtual ~Listener() = default;

  /// Where it listens; the port that the kernel chose if it was given port 0.
  [[nodiscard]] virtual Endpoint endpoint() const = 0;
};

/// Reaches one peer, again and again. All verbs and `done` on the thread of its io_context.
class Dialer {
 public:
  using Done = std::function<void(Result<std::unique_ptr<Connection>>)>;
  virtual ~Dialer() = default;

  /// One attempt at a time; `done` comes within limits::link_connect, and not inside this call. An
  /// error names the peer and the remedy.
  virtual void dial(Done done) = 0;

  /// `done` of the attempt under way, if there is one, is not called.
  virtual void cancel() = 0;
};

/// How hosts reach each other. Outlives all that it has made. Thread-safe.
class Transport {
 public:
  virtual ~Transport() = default;

  /// For people: "tcp".
  [[nodiscard]] virtual std::string_view name() const = 0;

  /// Where people find a host there: its `replication_address`, or its name where addresses are
  /// found by asking.
  [[nodiscard]] virtual std::string where(const std::string& host,
                                          const std::string& replication_address) const = 0;

  /// "Address in use" and the like name the address and the remedy.
  [[nodiscard]] virtual Result<std::unique_ptr<Listener>> listen(asio::io_context& io,
                                                                 const Endpoint& at,
                                                                 const std::string& this_host,
                                                                 Listener::Arrived arrived) = 0;

  [[nodiscard]] virtual std::unique_ptr<Dialer> dialer(asio::io_context& io, const Endpoint& peer,
                                                       const std::string& to_host) = 0;
};

/// One connection per session. With credentials, only peers that have the same are heard; without,
/// only those in clear text.
[[nodiscard]] std::shared_ptr<Transport> tcp_transport(
    std::shared_ptr<const Credentials> credentials = {});

}  // namespace understudy::replication
