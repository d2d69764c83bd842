#include "failover/monitoring/http_server.hpp"

#include <list>
#include <optional>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "config/limits.hpp"
#include "failover/accept_loop.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using beast::error_code;
using Request = http::request<http::empty_body>;
using Response = http::response<http::string_body>;

Response answer_to(const Request& request, const HandleHttp& handle) {
  Response response;
  response.version(request.version());
  response.keep_alive(request.keep_alive());
  response.set(http::field::server, "understudyd");
  response.set(http::field::cache_control, "no-store");
  response.set("X-Content-Type-Options", "nosniff");
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    response.result(http::status::method_not_allowed);
    response.set(http::field::allow, "GET, HEAD");
    response.body() = "this address only answers GET and HEAD\n";
  } else {
    const auto target = std::string_view{request.target().data(), request.target().size()};
    auto answer = handle(target.substr(0, target.find('?')));
    response.result(answer.status);
    response.set(http::field::content_type, answer.type);
    response.body() = std::move(answer.body);
  }
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();
  return response;
}

/// One client, one request after another.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using OnClosed = std::function<void(const std::shared_ptr<Connection>&)>;

  Connection(tcp::socket socket, const HandleHttp& handle, OnClosed on_closed)
      : stream_{std::move(socket)}, handle_{handle}, on_closed_{std::move(on_closed)} {}

  void read() {
    parser_.emplace();
    parser_->header_limit(limits::http_header_bytes);
    parser_->body_limit(0);
    stream_.expires_after(limits::http_exchange);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, std::size_t /*bytes*/) {
                       if (error) return self->close();
                       self->respond();
                     });
  }

  void close() {
    stream_.close();
    if (auto on_closed = std::exchange(on_closed_, nullptr)) on_closed(shared_from_this());
  }

 private:
  void respond() {
    if (!on_closed_) return;  // the server has stopped
    response_ = answer_to(parser_->get(), handle_);
    stream_.expires_after(limits::http_exchange);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](error_code error, std::size_t /*bytes*/) {
                        if (error || !self->response_.keep_alive()) return self->close();
                        self->read();
                      });
  }

  beast::tcp_stream stream_;
  const HandleHttp& handle_;
  OnClosed on_closed_;
  beast::flat_buffer buffer_{limits::http_header_bytes};
  std::optional<http::request_parser<http::empty_body>> parser_;
  Response response_;
};

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
  explicit Clients(HandleHttp handle) : handle_{std::move(handle)} {}

  /// With too many clients the oldest goes: one that only waits must not keep others out.
  void admit(tcp::socket socket) {
    if (connections_.size() >= limits::http_clients) {
      const auto oldest = connections_.front();
      oldest->close();
    }
    const auto forget = [weak = weak_from_this()](const auto& connection) {
      if (const auto self = weak.lock()) self->connections_.remove(connection);
    };
    connections_.push_back(std::make_shared<Connection>(std::move(socket), handle_, forget));
    connections_.back()->read();
  }

  void stop() {
    for (const auto& connection : std::exchange(connections_, {})) connection->close();
  }

 private:
  const HandleHttp handle_;
  std::list<std::shared_ptr<Connection>> connections_;
};

class Server final : public HttpServer {
 public:
  Server(tcp::acceptor acceptor, HandleHttp handle)
      : clients_{std::make_shared<Clients>(std::move(handle))},
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
                                                       HandleHttp handle) {
  UNDERSTUDY_TRY(auto acceptor, open(io, endpoint));
  return std::make_unique<Server>(std::move(acceptor), std::move(handle));
}

}  // namespace understudy::failover
