#include "replication/backup_session.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include "config/log.hpp"
#include "replication/control_frame.hpp"
#include "replication/greeting.hpp"

namespace understudy::replication {
namespace {

/// Listens to nothing but the end.
class Farewell final : public LinkEvents {
 public:
  explicit Farewell(asio::io_context& io) : io_{io} {}
  std::span<std::byte> place(const FrameHeader& /*header*/) override { return {}; }
  void on_frame(const FrameHeader& /*header*/, std::span<const std::byte> /*payload*/) override {}
  void on_writable() override {}
  void on_down(Error /*reason*/) override { io_.stop(); }

 private:
  asio::io_context& io_;
};

}  // namespace

BackupSession::BackupSession(Plan plan) : plan_{std::move(plan)}, thread_{[this] { run(); }} {}

BackupSession::~BackupSession() {
  join();
}

void BackupSession::join() {
  const std::lock_guard lock{join_mutex_};
  if (thread_.joinable()) thread_.join();
}

void BackupSession::resume(std::unique_ptr<Connection> connection) {
  asio::post(
      io_, [this, connection = std::move(connection)]() mutable { adopt(std::move(connection)); });
}

void BackupSession::end(const std::string& reason) {
  std::unique_lock lock{mutex_};
  if (phase_ == Phase::ended) return;
  if (phase_ == Phase::deciding) {
    end_reason_ = reason;
    const auto predecessor = plan_.predecessor;
    lock.unlock();
    if (predecessor) predecessor->end(reason);
    return;
  }
  end_waits_ = true;
  asio::post(io_, [this, reason] { session_->end({ErrorKind::closed, reason}); });
  changed_.wait(lock, [this] { return phase_ == Phase::ended; });
}

bool BackupSession::ended() const {
  const std::lock_guard lock{mutex_};
  return phase_ == Phase::ended;
}

std::optional<ReceiverStatus> BackupSession::status() const {
  const std::lock_guard lock{mutex_};
  if (phase_ != Phase::serving) return std::nullopt;
  return session_->status();
}

void BackupSession::run() {
  end_predecessor();
  if (const auto begun = begin(); begun) {
    serve();
  } else {
    refuse(begun.error());
  }
  plan_.gone();
}

void BackupSession::end_predecessor() {
  if (!plan_.predecessor) return;
  plan_.predecessor->end("a new session of host " + plan_.from_host + " takes its place");
  plan_.predecessor->join();
  const std::lock_guard lock{mutex_};
  plan_.predecessor.reset();
}

Result<> BackupSession::begin() {
  UNDERSTUDY_TRY(const auto room, staging_bytes(plan_.offer));
  UNDERSTUDY_TRY(auto staging, Mapping::anonymous(room));
  UNDERSTUDY_TRY(auto replica, plan_.accept(plan_.offer, plan_.from_host));
  auto session = std::make_unique<ReceiverSession>(ReceiverSession::Plan{
      .session = plan_.id,
      .block_bytes = block_bytes(plan_.offer),
      .staging = std::move(staging),
      .replica = replica,
      .clock = now,
      .end_waits = [this] { return end_waits_.load(); },
      .ended = [this] { set_ended(); },
      .gone = [this] { io_.stop(); },
  });
  std::unique_lock lock{mutex_};
  if (end_reason_) {
    lock.unlock();
    const Error why{ErrorKind::closed, *end_reason_};
    replica->on_end(why);
    return fail(why);
  }
  session_ = std::move(session);
  phase_ = Phase::serving;
  return {};
}

void BackupSession::serve() {
  log::info("replication.session",
            {log::kv("guest", plan_.offer.guest().name()), log::kv("from", plan_.from_host),
             log::kv("session", fmt::format("{:016x}", plan_.id.value()))});
  const auto work = asio::make_work_guard(io_);
  adopt(std::move(plan_.connection));
  tick();
  io_.run();
}

void BackupSession::refuse(const Error& why) {
  set_ended();
  plan_.refused(why);
  Farewell farewell{io_};
  const auto link = plan_.connection->start(io_, farewell);
  const auto reply = encode_message(FrameType::hello_reply, plan_.id, refusal(why.message));
  if (reply && link->send_copy(*reply)) {
    link->finish();
    io_.run();
  }
  link->close();
}

void BackupSession::adopt(std::unique_ptr<Connection> connection) {
  session_->adopt(connection->start(io_, *session_));
}

void BackupSession::tick() {
  session_->tick();
  tick_timer_.expires_after(limits::link_tick);
  tick_timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled) tick();
  });
}

void BackupSession::set_ended() {
  {
    const std::lock_guard lock{mutex_};
    phase_ = Phase::ended;
  }
  changed_.notify_all();
  goodbye_timer_.expires_after(limits::link_goodbye);
  goodbye_timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled) io_.stop();
  });
}

}  // namespace understudy::replication
