// Cleans an activity log on a thread of its own: flushing an image takes as long as its disk needs.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "checkpointer/activity_log.hpp"

namespace understudy::checkpointer {

/// Thread-safe.
class ActivityCleaner {
 public:
  explicit ActivityCleaner(ActivityLog& log) : log_{log}, thread_{[this] { run(); }} {}
  /// Waits for what is under way.
  ~ActivityCleaner() {
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  ActivityCleaner(const ActivityCleaner&) = delete;
  ActivityCleaner& operator=(const ActivityCleaner&) = delete;

  /// There may be something to do.
  void wake() {
    const std::lock_guard lock{mutex_};
    awake_ = true;
    changed_.notify_all();
  }

 private:
  void run() {
    std::unique_lock lock{mutex_};
    while (true) {
      changed_.wait(lock, [this] { return awake_ || stopping_; });
      if (stopping_) return;
      awake_ = false;
      lock.unlock();
      log_.clean(now());
      lock.lock();
    }
  }

  ActivityLog& log_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool awake_{};
  bool stopping_{};
  std::thread thread_;
};

}  // namespace understudy::checkpointer
