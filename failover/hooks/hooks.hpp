// Tells the hooks of the configuration what changes. `tell` only queues: each hook has a thread of
// its own, so that one that hangs keeps back neither a decision nor another hook.
#pragma once

#include <memory>
#include <vector>

#include "config/settings.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

class Hooks {
 public:
  explicit Hooks(const Settings& settings);
  ~Hooks();
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;

  /// Fills in who says it and when, and queues it for those that want it. The event as they get it.
  /// One thread.
  control::Event tell(control::Event event);
  /// Ends attempts that are under way; what waits is lost. Waits for the threads. Idempotent.
  void stop();

 private:
  class Teller;
  const Settings& settings_;
  std::uint64_t number_{};
  std::vector<std::unique_ptr<Teller>> tellers_;
};

}  // namespace understudy::failover
