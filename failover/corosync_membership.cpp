#include "failover/corosync_membership.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "config/assert.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/unique_fd.hpp"
#include "failover/corosync_session.hpp"
#include "failover/event_inbox.hpp"

namespace understudy::failover {
namespace {

/// Wakes the worker out of poll().
class Doorbell {
 public:
  Doorbell() : fd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
    UNDERSTUDY_ASSERT(fd_, "an eventfd can be made at start");
  }
  void ring() const { ::eventfd_write(fd_.get(), 1); }
  void silence() const {
    eventfd_t ignored{};
    ::eventfd_read(fd_.get(), &ignored);
  }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

/// Messages from the daemon to the worker. Takes none while there is no view.
class Outbox {
 public:
  void open() {
    const std::lock_guard lock{mutex_};
    open_ = true;
  }

  void close() {
    const std::lock_guard lock{mutex_};
    open_ = false;
    queue_.clear();
  }

  /// Whether the message was taken.
  [[nodiscard]] bool put(std::vector<std::byte> message) {
    const std::lock_guard lock{mutex_};
    if (!open_) return false;
    if (queue_.size() >= limits::membership_outgoing) {
      log::warning("membership.outgoing_full", {log::kv("messages", queue_.size())});
      return false;
    }
    queue_.push_back(std::move(message));
    return true;
  }

  /// The next message, if any.
  [[nodiscard]] std::optional<std::vector<std::byte>> take() {
    const std::lock_guard lock{mutex_};
    if (queue_.empty()) return std::nullopt;
    auto message = std::move(queue_.front());
    queue_.pop_front();
    return message;
  }

 private:
  std::mutex mutex_;
  std::deque<std::vector<std::byte>> queue_;
  bool open_{};
};

class Worker final : public CorosyncMembership, private CorosyncEvents {
 public:
  Worker(boost::asio::io_context& io, std::string group, MembershipEvents& events)
      : group_{std::move(group)},
        inbox_{std::make_shared<EventInbox>(io, events, [this] { doorbell_.ring(); })},
        thread_{[this] { run(); }} {}

  ~Worker() override { finish(); }

  void stop() override { finish(); }

  void send(std::vector<std::byte> message) override {
    UNDERSTUDY_ASSERT(message.size() <= limits::membership_message_bytes,
                      "a membership message fits into one of Corosync's");
    if (outbox_.put(std::move(message))) doorbell_.ring();
  }

 private:
  void finish() {
    inbox_->close();
    {
      const std::lock_guard lock{stop_mutex_};
      stopping_ = true;
    }
    stop_changed_.notify_all();
    doorbell_.ring();
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] bool stopping() {
    const std::lock_guard lock{stop_mutex_};
    return stopping_;
  }

  void pause_before_retry() {
    std::unique_lock lock{stop_mutex_};
    stop_changed_.wait_for(lock, limits::corosync_retry, [this] { return stopping_; });
  }

  // --- on the worker's thread

  void run() {
    while (!stopping()) {
      if (const auto served = serve(); !served) tell_lost(served.error());
      assembler_.reset();
      outbox_.close();
      unsent_.reset();
      pause_before_retry();
    }
  }

  /// One session, from connecting until stop() or an error.
  Result<> serve() {
    UNDERSTUDY_TRY(const auto session, CorosyncSession::open(group_, *this));
    log::info("membership.connected", {log::kv("group", group_)});
    while (!stopping()) {
      UNDERSTUDY_TRY(const auto sent, send_all(*session));
      UNDERSTUDY_CHECK(wait(*session, sent));
      UNDERSTUDY_CHECK(dispatch(*session));
    }
    // Not amid a change of ring: leaving is a synchronous call; ending the session does as well.
    if (assembler_.group_ahead()) return {};
    static_cast<void>(send_all(*session));  // the last words; who misses them does without
    session->leave();
    return {};
  }

  /// Until there is nothing to send, or corosync takes no more now. No lock is held meanwhile: the
  /// call may be slow, and send() must not wait for it.
  Result<Attempt> send_all(CorosyncSession& session) {
    while (true) {
      if (!unsent_) unsent_ = outbox_.take();
      if (!unsent_) return Attempt::done;
      UNDERSTUDY_TRY(const auto sent, session.send(*unsent_));
      if (sent == Attempt::not_now) return sent;
      unsent_.reset();
    }
  }

  [[nodiscard]] bool reads_group() const { return !assembler_.group_ahead() && !inbox_->full(); }

  Result<> wait(const CorosyncSession& session, Attempt sent) {
    const short group_events = reads_group() ? POLLIN : 0;
    std::array<pollfd, 3> waiting{{{session.group_fd(), group_events, 0},
                                   {session.quorum_fd(), POLLIN, 0},
                                   {doorbell_.fd(), POLLIN, 0}}};
    const auto retry = milliseconds{limits::corosync_send_retry}.count();
    const int timeout = sent == Attempt::not_now ? static_cast<int>(retry) : -1;
    if (::poll(waiting.data(), waiting.size(), timeout) < 0 && errno != EINTR) {
      return fail_errno("waiting for corosync");
    }
    if (waiting[2].revents != 0) doorbell_.silence();
    if (((waiting[0].revents | waiting[1].revents) & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
      return fail(ErrorKind::closed, "lost corosync: it closed the connection");
    }
    return {};
  }

  /// The group first: Corosync tells it first, and a view needs both. In turns, so that a group
  /// that talks all the time delays neither quorum nor what we send.
  Result<> dispatch(CorosyncSession& session) {
    constexpr int turn = 64;
    for (int i = 0; i < turn && reads_group(); ++i) {
      UNDERSTUDY_TRY(const auto more, session.dispatch_group());
      if (more == Attempt::not_now) break;
    }
    UNDERSTUDY_CHECK(session.dispatch_quorum());
    return {};
  }

  void tell_lost(const Error& reason) {
    if (std::exchange(lost_, true)) return;
    log::warning("membership.lost", {log::kv("reason", reason.message)});
    inbox_->push(reason);
  }

  void tell(const std::optional<View>& view) {
    if (!view) return;
    lost_ = false;
    outbox_.open();
    inbox_->push(*view);
  }

  void on_group_changed(const GroupChange& change) override {
    tell(assembler_.group_changed(change));
  }
  void on_group_ring(RingId ring) override { tell(assembler_.group_ring(ring)); }
  void on_quorum(RingId ring, Quorum quorum) override {
    tell(assembler_.quorum_changed(ring, quorum));
  }
  void on_group_message(NodeId sender, std::span<const std::byte> message) override {
    // A peer's rubbish is bounded here; what it means is for the receiver to judge.
    if (message.size() > limits::membership_message_bytes) {
      log::warning("membership.oversized",
                   {log::kv("sender", sender), log::kv("bytes", message.size())});
      return;
    }
    inbox_->push(GroupMessage{sender, {message.begin(), message.end()}});
  }

  const std::string group_;
  Doorbell doorbell_;
  Outbox outbox_;
  ViewAssembler assembler_;                       ///< the worker's thread
  std::optional<std::vector<std::byte>> unsent_;  ///< the worker's thread: refused for now
  bool lost_{};                                   ///< the worker's thread: told, and no view since
  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stopping_{};
  std::shared_ptr<EventInbox> inbox_;
  std::thread thread_;  ///< last: runs when all else is there
};

}  // namespace

std::unique_ptr<CorosyncMembership> CorosyncMembership::start(boost::asio::io_context& io,
                                                              const std::string& group,
                                                              MembershipEvents& events) {
  return std::make_unique<Worker>(io, group, events);
}

}  // namespace understudy::failover
