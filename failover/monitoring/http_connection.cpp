#include "failover/monitoring/http_connection.hpp"

#include <optional>
#include <sstream>
#include <type_traits>
#include <utility>

#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "failover/console/status_json.hpp"
#include "failover/monitoring/http_order.hpp"
#include "failover/reply_queue.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using beast::error_code;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;
using Plain = beast::tcp_stream;
using Encrypted = beast::ssl_stream<beast::tcp_stream>;

constexpr std::string_view access_path = "/api/access";
constexpr std::string_view order_path = "/api/order";
constexpr auto policy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src "
    "'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

std::string_view path_of(const Request& request) {
  const auto target = view(request.target());
  return target.substr(0, target.find('?'));
}

HttpHead head_of(const Request& request) {
  return {view(request[http::field::host]), view(request[http::field::origin]),
          view(request[http::field::authorization]), view(request[http::field::content_type])};
}

bool only_looks(const Request& request) {
  return request.method() == http::verb::get || request.method() == http::verb::head;
}

template <class Body>
void set_common_fields(http::response<Body>& response) {
  response.set(http::field::server, "understudyd");
  response.set(http::field::cache_control, "no-store");
  response.set("X-Content-Type-Options", "nosniff");
  response.set("Content-Security-Policy", policy);
  response.set("Referrer-Policy", "no-referrer");
}

Response response_of(const Request& request, HttpAnswer answer) {
  Response response;
  response.version(request.version());
  response.keep_alive(request.keep_alive());
  set_common_fields(response);
  response.result(answer.status);
  if (answer.status == 405) response.set(http::field::allow, "GET, HEAD");
  if (answer.status == 401) response.set(http::field::www_authenticate, "Bearer");
  response.set(http::field::content_type, answer.type);
  response.body() = std::move(answer.body);
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();
  return response;
}

/// Of the answer to an order, whose replies follow as chunks.
std::string order_header() {
  http::response<http::empty_body> response{http::status::ok, 11};
  set_common_fields(response);
  response.set(http::field::content_type, "application/x-ndjson");
  response.chunked(true);
  response.keep_alive(false);
  std::ostringstream text;
  text << response.base();
  return text.str();
}

std::string chunk_of(const control::Reply& reply) {
  const auto line = console::json_text(reply, console::JsonLayout::line);
  return fmt::format("{:x}\r\n{}\r\n", line.size(), line);
}

template <class Stream>
class Connection final : public HttpConnection,
                         public ReplySink,
                         public std::enable_shared_from_this<Connection<Stream>> {
 public:
  template <class... Context>
  Connection(tcp::socket socket, std::shared_ptr<HttpService> service, OnClosed on_closed,
             Context&... context)
      : peer_{peer_of(socket)},
        stream_{std::move(socket), context...},
        service_{std::move(service)},
        on_closed_{std::move(on_closed)} {}

  void start() override {
    if constexpr (encrypted) {
      expect_progress();
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](error_code error) {
                                error ? self->close() : self->read();
                              });
    } else {
      read();
    }
  }

  void close() override {
    beast::get_lowest_layer(stream_).close();
    if (auto on_closed = std::exchange(on_closed_, nullptr)) on_closed(this);
  }

  [[nodiscard]] bool serves_order() const override { return serves_order_; }

  void progress(const control::Progress& progress) override {
    control::Reply reply;
    *reply.mutable_progress() = progress;
    replies_.progress(chunk_of(reply));
    write();
  }

  void finish(const control::Reply& reply) override {
    replies_.last(chunk_of(reply) + "0\r\n\r\n");
    serves_order_ = false;
    write();
  }

  [[nodiscard]] bool open() const override { return on_closed_ != nullptr; }

 private:
  static constexpr bool encrypted = std::is_same_v<Stream, Encrypted>;

  static HttpPeer peer_of(const tcp::socket& socket) {
    error_code ignored;
    return {socket.remote_endpoint(ignored).address().to_string(), encrypted,
            socket.local_endpoint(ignored).address().is_loopback()};
  }

  void expect_progress() { beast::get_lowest_layer(stream_).expires_after(limits::http_exchange); }

  void read() {
    if (!on_closed_) return;  // the server has stopped
    parser_.emplace();
    parser_->header_limit(limits::http_header_bytes);
    parser_->body_limit(limits::control_request_bytes);
    expect_progress();
    http::async_read(stream_, buffer_, *parser_,
                     [self = this->shared_from_this()](error_code error, std::size_t /*bytes*/) {
                       if (error) return self->close();
                       self->serve();
                     });
  }

  void serve() {
    if (!on_closed_) return;
    const auto& request = parser_->get();
    if (only_looks(request)) {
      if (!request.body().empty()) return close();  // a body here is an attempt to smuggle
      return respond(path_of(request) == access_path ? access() : service_->look(path_of(request)));
    }
    if (request.method() == http::verb::post && path_of(request) == order_path) return order();
    respond({.status = 405, .body = "this address only answers GET and HEAD\n"});
  }

  HttpAnswer access() {
    const auto head = head_of(parser_->get());
    control::PageAccess access;
    if (auto why = service_->guard->obstacle(peer_, head)) {
      access.set_obstacle(*std::move(why));
    } else {
      access.set_orders(true);
      if (!head.authorization.empty()) {
        if (auto refused = service_->guard->refuse_token(peer_, head, now()))
          return noted(*std::move(refused));
      }
    }
    return {.type = "application/json",
            .body = console::json_text(access, console::JsonLayout::line)};
  }

  /// Not more often than wrong tokens are listened to.
  HttpAnswer noted(HttpAnswer refused) {
    if (refused.status == 401) log::warning("http.refused", {log::kv("from", peer_.address)});
    return refused;
  }

  void order() {
    const auto& request = parser_->get();
    if (auto refused = service_->guard->refuse_order(peer_, head_of(request), now()))
      return respond(noted(*std::move(refused)));
    if (request.version() < 11)
      return respond({.status = 505, .body = "the answer to an order needs HTTP/1.1\n"});
    auto wanted = parse_order(request.body());
    if (!wanted) return respond({.status = 400, .body = wanted.error().message + "\n"});
    log::info("http.order", {log::kv("from", peer_.address), log::kv("what", order_text(*wanted))});
    serves_order_ = true;
    replies_.progress(order_header());  // written at once: nothing else is
    write();
    service_->order(make_call(this->shared_from_this(), *std::move(wanted)));
  }

  void respond(HttpAnswer answer) {
    response_ = response_of(parser_->get(), std::move(answer));
    expect_progress();
    http::async_write(stream_, response_,
                      [self = this->shared_from_this()](error_code error, std::size_t /*bytes*/) {
                        if (error || !self->response_.keep_alive()) return self->close();
                        self->read();
                      });
  }

  /// The next part of the answer to an order. That the client has gone is noticed only here.
  void write() {
    const auto* next = on_closed_ ? replies_.next() : nullptr;
    if (next == nullptr) return;
    expect_progress();
    asio::async_write(stream_, asio::buffer(*next),
                      [self = this->shared_from_this()](error_code error, std::size_t /*bytes*/) {
                        if (error || self->replies_.written()) return self->close();
                        self->write();
                      });
  }

  const HttpPeer peer_;
  Stream stream_;
  const std::shared_ptr<HttpService> service_;
  OnClosed on_closed_;
  beast::flat_buffer buffer_{limits::http_header_bytes};
  std::optional<http::request_parser<http::string_body>> parser_;
  Response response_;
  ReplyQueue replies_;
  bool serves_order_{};
};

}  // namespace

std::shared_ptr<HttpConnection> HttpConnection::make(tcp::socket socket,
                                                     std::shared_ptr<HttpService> service,
                                                     OnClosed on_closed) {
  if (auto* tls = service->tls.get()) {
    return std::make_shared<Connection<Encrypted>>(std::move(socket), std::move(service),
                                                   std::move(on_closed), *tls);
  }
  return std::make_shared<Connection<Plain>>(std::move(socket), std::move(service),
                                             std::move(on_closed));
}

}  // namespace understudy::failover
