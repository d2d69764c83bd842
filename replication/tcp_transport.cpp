// Transport over TCP: one connection per session.
#include <cerrno>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/log.hpp"
#include "replication/asio_tcp_link.hpp"
#include "replication/connection.hpp"
#include "replication/tcp_connection.hpp"

namespace understudy::replication {
namespace {

using asio::ip::tcp;
using boost::system::error_code;

constexpr auto accept_retry = milliseconds{100};

Error listen_error(const Endpoint& at, const std::string& host, const error_code& code) {
  const auto where = fmt::format("{}:{}", at.address, at.port);
  if (code.value() == EADDRINUSE) {
    return {ErrorKind::conflict,
            fmt::format("{} is in use by another process; stop it or change replication_address of "
                        "host {}",
                        where, host)};
  }
  if (code.value() == EADDRNOTAVAIL) {
    return {ErrorKind::invalid,
            fmt::format("{} is no address of this host; correct replication_address of host {}",
                        at.address, host)};
  }
  return {ErrorKind::io, fmt::format("listening at {}: {}", where, code.message())};
}

using Key = std::shared_ptr<const Credentials>;

class TcpListener final : public Listener {
 public:
  TcpListener(asio::io_context& io, Key key, Arrived arrived)
      : key_{std::move(key)}, arrived_{std::move(arrived)}, acceptor_{io}, retry_{io} {}

  [[nodiscard]] Result<> open(const Endpoint& at, const std::string& this_host);
  [[nodiscard]] Endpoint endpoint() const override { return endpoint_; }

 private:
  void accept_next();

  const Key key_;
  const Arrived arrived_;
  tcp::acceptor acceptor_;
  asio::steady_timer retry_;
  Endpoint endpoint_;
};

Result<> TcpListener::open(const Endpoint& at, const std::string& this_host) {
  error_code code;
  const auto address = asio::ip::make_address_v4(at.address, code);
  if (!code) acceptor_.open(tcp::v4(), code);
  if (!code) acceptor_.set_option(tcp::acceptor::reuse_address{true}, code);
  if (!code) AsioTcpLink::tune(acceptor_.native_handle());
  if (!code) acceptor_.bind({address, at.port}, code);
  if (!code) acceptor_.listen(limits::greeting_connections, code);
  if (code) return fail(listen_error(at, this_host, code));
  endpoint_ = {at.address, acceptor_.local_endpoint(code).port()};
  accept_next();
  return {};
}

void TcpListener::accept_next() {
  acceptor_.async_accept([this](const error_code& code, tcp::socket socket) {
    if (code == asio::error::operation_aborted) return;
    if (!code) {
      arrived_(std::make_unique<TcpConnection>(std::move(socket), key_, HandshakeSide::server));
      return accept_next();
    }
    log::warning("replication.accept", {log::kv("why", code.message())});
    retry_.expires_after(accept_retry);
    retry_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) accept_next();
    });
  });
}

class TcpDialer final : public Dialer {
 public:
  TcpDialer(asio::io_context& io, Key key, Endpoint peer, std::string to_host)
      : io_{io}, key_{std::move(key)}, peer_{std::move(peer)}, to_host_{std::move(to_host)} {}

  void dial(Done done) override;
  void cancel() override { attempt_.reset(); }

 private:
  struct Attempt {
    Attempt(asio::io_context& io, Done whom) : done{std::move(whom)}, socket{io}, timer{io} {}
    Done done;
    tcp::socket socket;
    asio::steady_timer timer;
  };
  void settle(const std::weak_ptr<Attempt>& attempt, const error_code& code);
  [[nodiscard]] Error unreachable(const error_code& code) const;

  asio::io_context& io_;
  const Key key_;
  Endpoint peer_;
  std::string to_host_;
  std::shared_ptr<Attempt> attempt_;
};

void TcpDialer::dial(Done done) {
  attempt_ = std::make_shared<Attempt>(io_, std::move(done));
  const std::weak_ptr<Attempt> mine = attempt_;
  error_code code;
  const auto address = asio::ip::make_address_v4(peer_.address, code);
  if (!code) attempt_->socket.open(tcp::v4(), code);
  if (code) return asio::post(io_, [this, mine, code] { settle(mine, code); });
  AsioTcpLink::tune(attempt_->socket.native_handle());
  attempt_->timer.expires_after(limits::link_connect);
  attempt_->timer.async_wait([mine](const error_code& cancelled) {
    error_code ignored;
    if (const auto attempt = mine.lock(); attempt && !cancelled) attempt->socket.close(ignored);
  });
  attempt_->socket.async_connect({address, peer_.port},
                                 [this, mine](const error_code& result) { settle(mine, result); });
}

/// The weak pointer is dead when the attempt was cancelled, and this dialer may be gone, too.
void TcpDialer::settle(const std::weak_ptr<Attempt>& mine, const error_code& code) {
  const auto attempt = mine.lock();
  if (!attempt) return;
  attempt_.reset();
  attempt->timer.cancel();
  if (code || !attempt->socket.is_open()) return attempt->done(fail(unreachable(code)));
  attempt->done(
      std::make_unique<TcpConnection>(std::move(attempt->socket), key_, HandshakeSide::client));
}

Error TcpDialer::unreachable(const error_code& code) const {
  const auto why =
      !code || code == asio::error::operation_aborted ? "it does not answer" : code.message();
  return {ErrorKind::unavailable,
          fmt::format("host {} cannot be reached at {}:{}: {}; is understudyd running there?",
                      to_host_, peer_.address, peer_.port, why)};
}

class TcpTransport final : public Transport {
 public:
  explicit TcpTransport(Key key) : key_{std::move(key)} {}

  [[nodiscard]] std::string_view name() const override { return "tcp"; }

  [[nodiscard]] std::string where(const std::string& /*host*/,
                                  const std::string& replication_address) const override {
    return replication_address;
  }

  [[nodiscard]] Result<std::unique_ptr<Listener>> listen(asio::io_context& io, const Endpoint& at,
                                                         const std::string& this_host,
                                                         Listener::Arrived arrived) override {
    auto listener = std::make_unique<TcpListener>(io, key_, std::move(arrived));
    UNDERSTUDY_CHECK(listener->open(at, this_host));
    return listener;
  }

  [[nodiscard]] std::unique_ptr<Dialer> dialer(asio::io_context& io, const Endpoint& peer,
                                               const std::string& to_host) override {
    return std::make_unique<TcpDialer>(io, key_, peer, to_host);
  }

 private:
  const Key key_;
};

}  // namespace

std::shared_ptr<Transport> tcp_transport(std::shared_ptr<const Credentials> credentials) {
  return std::make_shared<TcpTransport>(std::move(credentials));
}

}  // namespace understudy::replication
