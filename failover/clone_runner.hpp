// One clone that stays until it is stopped: on a thread of its own, in a network of its own. Gone
// with the daemon.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "checkpointer/clone.hpp"
#include "config/clock.hpp"
#include "config/config.pb.h"
#include "failover/control.pb.h"

namespace understudy::failover {

struct CloneOrder {
  checkpointer::CloneSource source;
  std::optional<checkpointer::HistoryWish> moment;  ///< nullopt: the newest commit
  config::Drill plan;                               ///< checked
  bool probes{};                                    ///< those of the plan are wanted
  std::string gdb;                                  ///< empty: none
  std::string directory;                            ///< for temporary files
  control::CloneInfo info;                          ///< who and when; the rest is filled in
};

class CloneRunner {
 public:
  struct Events {  ///< called on the clone's thread
    std::function<void(const std::string& step, double fraction)> progress;
    std::function<void(control::CloneInfo)> runs;
    std::function<void(const Error& why)> ended;  ///< exactly once; the thread is about to end
  };

  CloneRunner(CloneOrder order, Events events);
  /// Ends it and waits until it is cleaned up.
  ~CloneRunner();
  CloneRunner(const CloneRunner&) = delete;
  CloneRunner& operator=(const CloneRunner&) = delete;

  /// Of the clone, not shared with the replica. Any thread.
  [[nodiscard]] std::uint64_t own_memory() const { return own_memory_; }

 private:
  void run();
  [[nodiscard]] Result<> perform();
  [[nodiscard]] Result<> make_clone();
  void probe();
  [[nodiscard]] bool goes_on();

  CloneOrder order_;
  const Events events_;
  std::unique_ptr<checkpointer::Clone> clone_;
  Result<> clone_lives_;
  std::atomic<std::uint64_t> own_memory_{};

  std::mutex mutex_;
  bool stopping_{};

  std::thread thread_;
};

}  // namespace understudy::failover
