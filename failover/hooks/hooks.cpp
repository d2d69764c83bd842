#include "failover/hooks/hooks.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"
#include "failover/hooks/hook_attempt.hpp"
#include "failover/hooks/hook_queue.hpp"

namespace understudy::failover {

/// One hook: its queue, and the thread that works on it.
class Hooks::Teller {
 public:
  explicit Teller(const config::Hook& hook)
      : hook_{hook}, queue_{hook.retries()}, thread_{[this] { run(); }} {}
  Teller(const Teller&) = delete;
  Teller& operator=(const Teller&) = delete;
  ~Teller() {
    end();
    thread_.join();
  }

  [[nodiscard]] bool wants(config::Hook::Event what) const {
    return hook_.on().empty() || std::ranges::find(hook_.on(), what) != hook_.on().end();
  }

  void push(const control::Event& event) {
    const std::lock_guard lock{mutex_};
    const bool full = !queue_.push(event);
    if (full && !full_) {  // once, however many follow
      log::warning("hook.full",
                   {log::kv("hook", hook_name(hook_)), log::kv("waiting", limits::hook_queue)});
    }
    full_ = full;
    changed_.notify_all();
  }

  void end() {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    changed_.notify_all();
  }

 private:
  void run() {
    leave_real_time();  // inherited, and not for this
    std::unique_lock lock{mutex_};
    while (!ended_) {
      const auto event = queue_.begin(now());
      if (!event) {
        changed_.wait_until(lock, std::min(queue_.due(), now() + std::chrono::hours{1}));
        continue;
      }
      lock.unlock();
      const auto done = attempt_hook(hook_, *event, [this] {
        const std::lock_guard inner{mutex_};
        return ended_;
      });
      lock.lock();
      note(*event, done);
    }
  }

  void note(const control::Event& event, const Result<>& done) {
    if (done) {
      log::info("hook.told", {log::kv("hook", hook_name(hook_)), log::kv("event", event.event()),
                              log::kv("id", event.id())});
      return queue_.succeeded();
    }
    const bool again = queue_.failed(now());
    log::warning(again ? "hook.failed" : "hook.given_up",
                 {log::kv("hook", hook_name(hook_)), log::kv("event", event.event()),
                  log::kv("id", event.id()), log::kv("why", done.error().message)});
  }

  const config::Hook hook_;
  std::mutex mutex_;
  std::condition_variable changed_;
  HookQueue queue_;
  bool full_{};
  bool ended_{};
  std::thread thread_;
};

Hooks::Hooks(const Settings& settings) : settings_{settings} {
  for (const auto& hook : settings.config().hook())
    tellers_.push_back(std::make_unique<Teller>(hook));
}

Hooks::~Hooks() = default;

control::Event Hooks::tell(control::Event event) {
  const auto at = unix_us(unix_now());
  const auto& host = settings_.this_host().name();
  event.set_id(fmt::format("{}-{}-{}", host, at, ++number_));
  event.set_at_unix_us(at);
  event.set_host(host);
  event.set_cluster(settings_.config().cluster());
  config::Hook::Event what{};
  config::Hook::Event_Parse(event.event(), &what);
  for (const auto& one : tellers_) {
    if (one->wants(what)) one->push(event);
  }
  return event;
}

void Hooks::stop() {
  for (const auto& one : tellers_) one->end();
  tellers_.clear();
}

}  // namespace understudy::failover
