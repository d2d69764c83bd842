#include "failover/monitoring/http_server.hpp"

#include <algorithm>
#include <list>
#include <utility>

#include <boost/asio/ip/tcp.hpp>

#include "config/limits.hpp"
#include "failover/accept_loop.hpp"
#include "failover/monitoring/admission_rate.hpp"
#include "failover/monitoring/http_connection.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

/// A hundredth of a processor with a certificate on P-256.
constexpr std::size_t handshakes_per_second = 50;

Result<tcp::acceptor> open(asio::io_context& io, const Endpoint& endpoint) {
  const tcp::endpoint at{asio::ip::make_address_v4(endpoint.address), endpoint.port};
  tcp::acceptor acceptor{io};
  error_code error;
  acceptor.open(at.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address{true}, error);
  if (!error) acceptor.bind(at, error);
  if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error) {
    return fail(ErrorKind::unavailable, "http_address {}:{}: {}", endpoint.address, endpoint.port,
                error.message());
  }
  return acceptor;
}

/// Shared with its handlers under way, which may run after the owner is gone.
class Clients : public std::enable_shared_from_this<Clients> {
 public:
  explicit Clients(HttpService service)
      : service_{std::make_shared<HttpService>(std::move(service))} {}

  /// With too many clients the oldest goes: one that only waits must not keep others out.
  void admit(tcp::socket socket) {
    if (service_->tls && !rate_.admit(now())) return;  // which closes it
    if (connections_.size() >= limits::http_clients) oldest()->close();
    const auto forget = [weak = weak_from_this()](HttpConnection* connection) {
      const auto self = weak.lock();
      if (!self) return;
      self->connections_.remove_if([&](const auto& one) { return one.get() == connection; });
    };
    connections_.push_back(HttpConnection::make(std::move(socket), service_, forget));
    connections_.back()->start();
  }

  void stop() {
    for (const auto& connection : std::exchange(connections_, {})) connection->close();
  }

 private:
  /// One that waits for the end of its order only if all do.
  [[nodiscard]] std::shared_ptr<HttpConnection> oldest() const {
    const auto found =
        std::ranges::find_if(connections_, [](const auto& one) { return !one->serves_order(); });
    return found == connections_.end() ? connections_.front() : *found;
  }

  const std::shared_ptr<HttpService> service_;
  AdmissionRate rate_{handshakes_per_second};
  std::list<std::shared_ptr<HttpConnection>> connections_;
};

class Server final : public HttpServer {
 public:
  Server(tcp::acceptor acceptor, HttpService service)
      : clients_{std::make_shared<Clients>(std::move(service))},
        loop_{std::make_shared<AcceptLoop<tcp>>(
            std::move(acceptor), "http.accept",
            [clients = clients_](tcp::socket socket) { clients->admit(std::move(socket)); })} {
    loop_->accept();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  // NOLINTNEXTLINE(bugprone-exception-escape): closing throws in no case that can occur
  ~Server() override { Server::stop(); }

  void stop() override {
    loop_->stop();
    clients_->stop();
  }

 private:
  std::shared_ptr<Clients> clients_;
  std::shared_ptr<AcceptLoop<tcp>> loop_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(asio::io_context& io,
                                                       const Endpoint& endpoint,
                                                       HttpService service) {
  UNDERSTUDY_TRY(auto acceptor, open(io, endpoint));
  return std::make_unique<Server>(std::move(acceptor), std::move(service));
}

}  // namespace understudy::failover
