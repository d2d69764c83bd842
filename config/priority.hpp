// Scheduling of the threads of the daemon: what holds up a guest or a commit goes before other
// work, what merely takes long does not. sched(7).
#pragma once

#include <sched.h>

namespace understudy {

/// Asks for real-time scheduling of the calling thread and of those that it starts. False: not
/// permitted (CAP_SYS_NICE), everything works all the same.
[[nodiscard]] inline bool ask_for_real_time() {
  const sched_param priority{.sched_priority = 10};
  return ::sched_setscheduler(0, SCHED_RR, &priority) == 0;
}

/// While it lives, the calling thread is scheduled like any other program's: for long work during
/// which a guest runs, which would have no processor otherwise.
class OrdinaryPriority {
 public:
  OrdinaryPriority() : policy_{::sched_getscheduler(0)} {
    ::sched_getparam(0, &parameter_);
    const sched_param ordinary{};
    ::sched_setscheduler(0, SCHED_OTHER, &ordinary);
  }
  OrdinaryPriority(const OrdinaryPriority&) = delete;
  OrdinaryPriority& operator=(const OrdinaryPriority&) = delete;
  ~OrdinaryPriority() { ::sched_setscheduler(0, policy_, &parameter_); }

 private:
  int policy_;
  sched_param parameter_{};
};

}  // namespace understudy
