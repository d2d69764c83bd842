// One thread listens and hears hellos, one more per session.
#include "replication/replication_server.hpp"

#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "config/log.hpp"
#include "replication/backup_session.hpp"
#include "replication/greeter.hpp"
#include "replication/link_test.hpp"
#include "replication/refusal_log.hpp"

namespace understudy::replication {
namespace {

class Server final : public ReplicationServer {
 public:
  Server(std::string cluster, std::string this_host, AcceptOffer accept,
         std::vector<std::shared_ptr<Transport>> transports)
      : cluster_{std::move(cluster)},
        this_host_{std::move(this_host)},
        accept_{std::move(accept)},
        transports_{std::move(transports)} {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override { halt(); }

  [[nodiscard]] Result<> open(const Endpoint& at);

  Endpoint endpoint() const override { return listeners_.front()->endpoint(); }
  void end_session(const std::string& guest, const std::string& reason) override;
  std::optional<ReceiverStatus> status(const std::string& guest) const override;
  void stop() override { halt(); }

 private:
  void halt();

  // On the listening thread:
  void greet(std::unique_ptr<Connection> connection);
  [[nodiscard]] Result<Greeter::Take> decide(SessionId id, const Hello& hello);
  [[nodiscard]] Result<Greeter::Take> decide_link_test(SessionId id);
  [[nodiscard]] Result<Greeter::Take> decide_resume(SessionId id, const Hello& hello) const;
  [[nodiscard]] Result<> decide_offer(SessionId id, const Hello& hello) const;
  void begin_session(SessionId id, const Hello& hello, std::unique_ptr<Connection> connection);
  void forget(const std::string& guest, SessionId id);

  [[nodiscard]] std::shared_ptr<BackupSession> find(const std::string& guest) const;
  [[nodiscard]] std::shared_ptr<BackupSession> find(SessionId id) const;

  const std::string cluster_;
  const std::string this_host_;
  const AcceptOffer accept_;
  const std::vector<std::shared_ptr<Transport>> transports_;
  asio::io_context io_{1};
  std::vector<std::unique_ptr<Listener>> listeners_;
  RefusalLog refusals_{io_.get_executor()};
  std::size_t greeting_{};  ///< connections that have not said hello yet
  bool tested_{};           ///< a link test is being answered

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<BackupSession>> sessions_;  ///< by guest

  std::mutex stop_mutex_;
  std::thread thread_;
};

Result<> Server::open(const Endpoint& at) {
  for (const auto& transport : transports_) {
    auto arrived = [this](std::unique_ptr<Connection> one) { greet(std::move(one)); };
    UNDERSTUDY_TRY(auto listener, transport->listen(io_, at, this_host_, std::move(arrived)));
    listeners_.push_back(std::move(listener));
  }
  thread_ = std::thread{[this, work = asio::make_work_guard(io_)] { io_.run(); }};
  return {};
}

void Server::greet(std::unique_ptr<Connection> connection) {
  // Too many that say nothing: this one is dropped, and may come again when those are. They must
  // not stand in the way of those who have the key.
  const bool counts = !connection->vouched();
  if (counts && greeting_ == limits::greeting_connections) {
    return refusals_.refused(connection->peer(),
                             fmt::format("{} others have not said hello yet", greeting_));
  }
  greeting_ += counts ? 1 : 0;
  Greeter::start(io_, std::move(connection),
                 {.cluster = cluster_,
                  .name = this_host_,
                  .refusals = refusals_,
                  .decide = [this](SessionId id, const Hello& hello) { return decide(id, hello); },
                  .gone = [this, counts] { greeting_ -= counts ? 1 : 0; }});
}

Result<Greeter::Take> Server::decide(SessionId id, const Hello& hello) {
  if (hello.link_test()) return decide_link_test(id);
  if (hello.resume()) return decide_resume(id, hello);
  UNDERSTUDY_CHECK(decide_offer(id, hello));
  return Greeter::Take{[this, id, hello](std::unique_ptr<Connection> connection) {
    begin_session(id, hello, std::move(connection));
  }};
}

Result<Greeter::Take> Server::decide_link_test(SessionId id) {
  if (tested_) return fail(ErrorKind::conflict, "another link test is running: try again later");
  return Greeter::Take{[this, id](std::unique_ptr<Connection> connection) {
    tested_ = true;
    answer_link_test(io_, std::move(connection), id, [this] { tested_ = false; });
  }};
}

Result<Greeter::Take> Server::decide_resume(SessionId id, const Hello& hello) const {
  const auto session = find(id);
  if (!session || session->from_host() != hello.from_host() || !session->status()) {
    return fail(ErrorKind::closed,
                "host {} holds no such session of host {} (any more): protect the guest again",
                this_host_, hello.from_host());
  }
  return Greeter::Take{[session](std::unique_ptr<Connection> connection) {
    session->resume(std::move(connection));
  }};
}

Result<> Server::decide_offer(SessionId id, const Hello& hello) const {
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

void Server::begin_session(SessionId id, const Hello& hello,
                           std::unique_ptr<Connection> connection) {
  const auto guest = hello.offer().guest().name();
  const std::lock_guard lock{mutex_};
  auto& slot = sessions_[guest];
  slot = std::make_shared<BackupSession>(BackupSession::Plan{
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

void Server::forget(const std::string& guest, SessionId id) {
  std::shared_ptr<BackupSession> gone;
  const std::lock_guard lock{mutex_};
  const auto found = sessions_.find(guest);
  if (found == sessions_.end() || found->second->id() != id) return;
  std::swap(gone, found->second);
  sessions_.erase(found);
}

std::shared_ptr<BackupSession> Server::find(const std::string& guest) const {
  const std::lock_guard lock{mutex_};
  const auto found = sessions_.find(guest);
  return found == sessions_.end() ? nullptr : found->second;
}

std::shared_ptr<BackupSession> Server::find(SessionId id) const {
  const std::lock_guard lock{mutex_};
  for (const auto& [guest, session] : sessions_) {
    if (session->id() == id) return session;
  }
  return nullptr;
}

void Server::end_session(const std::string& guest, const std::string& reason) {
  if (const auto session = find(guest)) session->end(reason);
}

std::optional<ReceiverStatus> Server::status(const std::string& guest) const {
  const auto session = find(guest);
  return session ? session->status() : std::nullopt;
}

void Server::halt() {
  const std::lock_guard lock{stop_mutex_};
  if (!thread_.joinable()) return;
  io_.stop();
  thread_.join();
  listeners_.clear();
  std::map<std::string, std::shared_ptr<BackupSession>> sessions;
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
    std::vector<std::shared_ptr<Transport>> transports) {
  auto server = std::make_unique<Server>(std::move(cluster), std::move(this_host),
                                         std::move(accept), std::move(transports));
  UNDERSTUDY_CHECK(server->open(at));
  return server;
}

}  // namespace understudy::replication
