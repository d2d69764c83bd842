// One drill, from the command to its report: on a thread of its own, in a network of its own.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "checkpointer/clone.hpp"
#include "config/clock.hpp"
#include "config/config.pb.h"
#include "failover/control.pb.h"

namespace understudy::failover {

struct DrillOrder {
  checkpointer::CloneSource source;
  config::Drill plan;           ///< checked
  std::string directory;        ///< for temporary files
  TimePoint commanded;          ///< all times count from here
  control::DrillReport report;  ///< who, where and when; the rest is filled in
};

class DrillRunner {
 public:
  struct Events {  ///< called on the drill's thread
    std::function<void(const std::string& step, double fraction)> progress;
    std::function<void(control::DrillReport)> done;  ///< cleaned up; the thread is about to end
  };

  DrillRunner(DrillOrder order, Events events);
  /// Cancels it and waits until it is cleaned up.
  ~DrillRunner();
  DrillRunner(const DrillRunner&) = delete;
  DrillRunner& operator=(const DrillRunner&) = delete;

  /// It ends soon, and has failed: `why`. Any thread; the first reason counts.
  void cancel(const std::string& why);

 private:
  class Step;
  void run();
  [[nodiscard]] Result<> perform();
  [[nodiscard]] Result<> probe();
  [[nodiscard]] bool goes_on();
  [[nodiscard]] std::uint64_t since_command() const;

  DrillOrder order_;
  const Events events_;
  std::unique_ptr<checkpointer::Clone> clone_;
  Result<> clone_lives_;
  std::string address_;

  std::mutex mutex_;
  std::string cancelled_;  ///< why; empty: it is not

  std::thread thread_;
};

}  // namespace understudy::failover
