#include "failover/control_server.hpp"

#include <unistd.h>

#include <set>
#include <utility>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "failover/control_connection.hpp"
#include "failover/control_socket.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::local::stream_protocol;

/// Shared with its handlers under way, which may run after the owner is gone.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(asio::io_context& io, UniqueFd fd, std::string path, HandleCall handle)
      : acceptor_{io, Protocol{}, fd.get()},
        pause_{io},
        path_{std::move(path)},
        handle_{std::move(handle)} {
    static_cast<void>(fd.release());
  }

  void accept() {
    acceptor_.async_accept([self = shared_from_this()](error_code error, Protocol::socket socket) {
      if (!self->acceptor_.is_open()) return;
      if (error) return self->accept_later(error);
      self->admit(std::move(socket));
      self->accept();
    });
  }

  void stop() {
    if (!acceptor_.is_open()) return;
    ::unlink(path_.c_str());
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    for (const auto& connection : std::exchange(connections_, {})) connection->close();
  }

 private:
  /// Out of descriptors, most likely: some will be free again.
  void accept_later(error_code error) {
    log::warning("control.accept", {log::kv("reason", error.message())});
    pause_.expires_after(limits::control_accept_retry);
    pause_.async_wait([self = shared_from_this()](error_code cancelled) {
      if (!cancelled && self->acceptor_.is_open()) self->accept();
    });
  }

  void admit(Protocol::socket socket) {
    const auto forget = [weak = weak_from_this()](const auto& connection) {
      if (const auto self = weak.lock()) self->connections_.erase(connection);
    };
    const auto handle = [weak = weak_from_this()](std::shared_ptr<ControlCall> call) {
      const auto self = weak.lock();
      if (self && self->acceptor_.is_open()) self->handle_(std::move(call));
    };
    const auto connection = std::make_shared<ControlConnection>(std::move(socket), handle, forget);
    const bool full = connections_.size() >= limits::control_clients;
    connections_.insert(connection);
    if (!full) return connection->start();
    connection->refuse({ErrorKind::limit,
                        fmt::format("{} clients are connected already", limits::control_clients)});
  }

  Protocol::acceptor acceptor_;
  asio::steady_timer pause_;
  const std::string path_;
  HandleCall handle_;
  std::set<std::shared_ptr<ControlConnection>> connections_;
};

class Server final : public ControlServer {
 public:
  explicit Server(std::shared_ptr<Listener> listener) : listener_{std::move(listener)} {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  // NOLINTNEXTLINE(bugprone-exception-escape): cancelling throws in no case that can occur
  ~Server() override { listener_->stop(); }
  void stop() override { listener_->stop(); }

 private:
  std::shared_ptr<Listener> listener_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(asio::io_context& io,
                                                             const std::string& path,
                                                             HandleCall handle) {
  UNDERSTUDY_TRY(auto fd, listen_control(path));
  auto listener = std::make_shared<Listener>(io, std::move(fd), path, std::move(handle));
  listener->accept();
  return std::make_unique<Server>(std::move(listener));
}

}  // namespace understudy::failover
