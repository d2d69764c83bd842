// ReplicationServer over TCP: one thread listens and hears hellos, one more per session.
#include <cerrno>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/log.hpp"
#include "replication/asio_tcp_link.hpp"
#include "replication/refusal_log.hpp"
#include "replication/replication_server.hpp"
#include "replication/tcp_greeter.hpp"
#include "replication/tcp_session.hpp"

namespace understudy::replication {
namespace {

using asio::ip::tcp;
using boost::system::error_code;

constexpr auto accept_retry = milliseconds{100};

class TcpReplicationServer final : public ReplicationServer {
 public:
  TcpReplicationServer(std::string cluster, std::string this_host, AcceptOffer accept,
                       std::shared_ptr<const Credentials> credentials)
      : cluster_{std::move(cluster)},
        this_host_{std::move(this_host)},
        accept_{std::move(accept)},
        credentials_{std::move(credentials)} {}
  TcpReplicationServer(const TcpReplicationServer&) = delete;
  TcpReplicationServer& operator=(const TcpReplicationServer&) = delete;
  ~TcpReplicationServer() override { halt(); }

  [[nodiscard]] Result<> open(const Endpoint& at);

  Endpoint endpoint() const override { return endpoint_; }
  void end_session(const std::string& guest, const std::string& reason) override;
  std::optional<ReceiverStatus> status(const std::string& guest) const override;
  void stop() override { halt(); }

 private:
  void halt();

  // On the listening thread:
  void accept_next();
  void greet(tcp::socket socket);
  [[nodiscard]] Result<TcpGreeter::Take> decide(SessionId id, const Hello& hello);
  [[nodiscard]] Result<TcpGreeter::Take> decide_resume(SessionId id, const Hello& hello) const;
  [[nodiscard]] Result<> decide_offer(SessionId id, const Hello& hello) const;
  void begin_session(SessionId id, const Hello& hello, TcpHandover connection);
  void forget(const std::string& guest, SessionId id);

  [[nodiscard]] std::shared_ptr<TcpSession> find(const std::string& guest) const;
  [[nodiscard]] std::shared_ptr<TcpSession> find(SessionId id) const;

  const std::string cluster_;
  const std::string this_host_;
  const AcceptOffer accept_;
  const std::shared_ptr<const Credentials> credentials_;
  Endpoint endpoint_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer retry_{io_};
  RefusalLog refusals_{io_.get_executor()};
  std::size_t greeting_{};  ///< connections that have not said hello yet

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<TcpSession>> sessions_;  ///< by guest

  std::mutex stop_mutex_;
  std::thread thread_;
};

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

Result<> TcpReplicationServer::open(const Endpoint& at) {
  error_code code;
  const auto address = asio::ip::make_address_v4(at.address, code);
  if (!code) acceptor_.open(tcp::v4(), code);
  if (!code) acceptor_.set_option(tcp::acceptor::reuse_address{true}, code);
  if (!code) AsioTcpLink::tune(acceptor_.native_handle());
  if (!code) acceptor_.bind({address, at.port}, code);
  if (!code) acceptor_.listen(limits::greeting_connections, code);
  if (code) return fail(listen_error(at, this_host_, code));
  endpoint_ = {at.address, acceptor_.local_endpoint(code).port()};
  accept_next();
  thread_ = std::thread{[this] { io_.run(); }};
  return {};
}

void TcpReplicationServer::accept_next() {
  acceptor_.async_accept([this](const error_code& code, tcp::socket socket) {
    if (!code) {
      greet(std::move(socket));
      return accept_next();
    }
    log::warning("replication.accept", {log::kv("why", code.message())});
    retry_.expires_after(accept_retry);
    retry_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) accept_next();
    });
  });
}

void TcpReplicationServer::greet(tcp::socket socket) {
  // Too many that say nothing: this one is dropped, and may come again when those are.
  if (greeting_ == limits::greeting_connections) {
    return refusals_.refused(TcpGreeter::peer_name(socket),
                             fmt::format("{} others have not said hello yet", greeting_));
  }
  ++greeting_;
  TcpGreeter::start(
      std::move(socket),
      {.cluster = cluster_,
       .name = this_host_,
       .credentials = credentials_,
       .refusals = refusals_,
       .decide = [this](SessionId id, const Hello& hello) { return decide(id, hello); },
       .gone = [this] { --greeting_; }});
}

Result<TcpGreeter::Take> TcpReplicationServer::decide(SessionId id, const Hello& hello) {
  if (hello.resume()) return decide_resume(id, hello);
  UNDERSTUDY_CHECK(decide_offer(id, hello));
  return TcpGreeter::Take{[this, id, hello](TcpHandover connection) {
    begin_session(id, hello, std::move(connection));
  }};
}

Result<TcpGreeter::Take> TcpReplicationServer::decide_resume(SessionId id,
                                                             const Hello& hello) const {
  const auto session = find(id);
  if (!session || session->from_host() != hello.from_host() || !session->status()) {
    return fail(ErrorKind::closed,
                "host {} holds no such session of host {} (any more): protect the guest again",
                this_host_, hello.from_host());
  }
  return TcpGreeter::Take{
      [session](TcpHandover connection) { session->resume(std::move(connection)); }};
}

Result<> TcpReplicationServer::decide_offer(SessionId id, const Hello& hello) const {
  const auto& guest = hello.offer().guest().name();
  if (id == SessionId{} || find(id)) {
    return fail(ErrorKind::protocol, "session number {:016x} cannot be used", id.value());
  }
  const auto before = find(guest);
  if (before && !before->ended() && before->from_host() != hello.from_host()) {
    return fail(ErrorKind::conflict,
                "host {} is the backup of guest {} for host {} already: unprotect it there first",
                this_host_, guest, before->from_host());
  }
  const std::lock_guard lock{mutex_};
  if (!before && sessions_.size() >= limits::guests_per_host) {
    return fail(ErrorKind::limit, "host {} is the backup of {} guests already, which is its limit",
                this_host_, sessions_.size());
  }
  return {};
}

void TcpReplicationServer::begin_session(SessionId id, const Hello& hello, TcpHandover connection) {
  const auto guest = hello.offer().guest().name();
  const std::lock_guard lock{mutex_};
  auto& slot = sessions_[guest];
  slot = std::make_shared<TcpSession>(TcpSession::Plan{
      .id = id,
      .offer = hello.offer(),
      .from_host = hello.from_host(),
      .connection = std::move(connection),
      .accept = accept_,
      .predecessor = slot,
      .refused =
          [this, from = hello.from_host()](const Error& why) {
            asio::post(io_, [this, from, why] { refusals_.refused("host " + from, why.message); });
          },
      .gone = [this, guest, id] { asio::post(io_, [this, guest, id] { forget(guest, id); }); }});
}

void TcpReplicationServer::forget(const std::string& guest, SessionId id) {
  std::shared_ptr<TcpSession> gone;
  const std::lock_guard lock{mutex_};
  const auto found = sessions_.find(guest);
  if (found == sessions_.end() || found->second->id() != id) return;
  std::swap(gone, found->second);
  sessions_.erase(found);
}

std::shared_ptr<TcpSession> TcpReplicationServer::find(const std::string& guest) const {
  const std::lock_guard lock{mutex_};
  const auto found = sessions_.find(guest);
  return found == sessions_.end() ? nullptr : found->second;
}

std::shared_ptr<TcpSession> TcpReplicationServer::find(SessionId id) const {
  const std::lock_guard lock{mutex_};
  for (const auto& [guest, session] : sessions_) {
    if (session->id() == id) return session;
  }
  return nullptr;
}

void TcpReplicationServer::end_session(const std::string& guest, const std::string& reason) {
  if (const auto session = find(guest)) session->end(reason);
}

std::optional<ReceiverStatus> TcpReplicationServer::status(const std::string& guest) const {
  const auto session = find(guest);
  return session ? session->status() : std::nullopt;
}

void TcpReplicationServer::halt() {
  const std::lock_guard lock{stop_mutex_};
  if (!thread_.joinable()) return;
  io_.stop();
  thread_.join();
  error_code ignored;
  acceptor_.close(ignored);
  std::map<std::string, std::shared_ptr<TcpSession>> sessions;
  {
    const std::lock_guard sessions_lock{mutex_};
    std::swap(sessions, sessions_);
  }
  for (const auto& [guest, session] : sessions) session->end("the backup is stopping");
  for (const auto& [guest, session] : sessions) session->join();
}

}  // namespace

Result<std::unique_ptr<ReplicationServer>> ReplicationServer::listen(
    const Endpoint& at, std::string cluster, std::string this_host, AcceptOffer accept,
    std::shared_ptr<const Credentials> credentials) {
  auto server = std::make_unique<TcpReplicationServer>(std::move(cluster), std::move(this_host),
                                                       std::move(accept), std::move(credentials));
  UNDERSTUDY_CHECK(server->open(at));
  return server;
}

}  // namespace understudy::replication
