#include "failover/control_server.hpp"

#include <unistd.h>

#include <set>
#include <utility>

#include <boost/asio/local/stream_protocol.hpp>

#include "config/limits.hpp"
#include "failover/accept_loop.hpp"
#include "failover/control_connection.hpp"
#include "failover/control_socket.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;

/// Shared with its handlers under way, which may run after the owner is gone.
class Clients : public std::enable_shared_from_this<Clients> {
 public:
  explicit Clients(HandleCall handle) : handle_{std::move(handle)} {}

  void admit(Protocol::socket socket) {
    const auto forget = [weak = weak_from_this()](const auto& connection) {
      if (const auto self = weak.lock()) self->connections_.erase(connection);
    };
    const auto handle = [weak = weak_from_this()](std::shared_ptr<ControlCall> call) {
      const auto self = weak.lock();
      if (self && !self->stopped_) self->handle_(std::move(call));
    };
    const auto connection = std::make_shared<ControlConnection>(std::move(socket), handle, forget);
    const bool full = connections_.size() >= limits::control_clients;
    connections_.insert(connection);
    if (!full) return connection->start();
    connection->refuse({ErrorKind::limit,
                        fmt::format("{} clients are connected already", limits::control_clients)});
  }

  void stop() {
    stopped_ = true;
    for (const auto& connection : std::exchange(connections_, {})) connection->close();
  }

 private:
  const HandleCall handle_;
  bool stopped_{};
  std::set<std::shared_ptr<ControlConnection>> connections_;
};

class Server final : public ControlServer {
 public:
  Server(Protocol::acceptor acceptor, std::string path, HandleCall handle)
      : path_{std::move(path)},
        clients_{std::make_shared<Clients>(std::move(handle))},
        loop_{std::make_shared<AcceptLoop<Protocol>>(
            std::move(acceptor), "control.accept",
            [clients = clients_](Protocol::socket socket) { clients->admit(std::move(socket)); })} {
    loop_->accept();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  // NOLINTNEXTLINE(bugprone-exception-escape): cancelling throws in no case that can occur
  ~Server() override { Server::stop(); }

  void stop() override {
    if (!loop_->open()) return;
    ::unlink(path_.c_str());
    loop_->stop();
    clients_->stop();
  }

 private:
  const std::string path_;
  std::shared_ptr<Clients> clients_;
  std::shared_ptr<AcceptLoop<Protocol>> loop_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(asio::io_context& io,
                                                             const std::string& path,
                                                             HandleCall handle) {
  UNDERSTUDY_TRY(auto fd, listen_control(path));
  Protocol::acceptor acceptor{io, Protocol{}, fd.get()};
  static_cast<void>(fd.release());
  return std::make_unique<Server>(std::move(acceptor), path, std::move(handle));
}

}  // namespace understudy::failover
