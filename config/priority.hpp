// Scheduling of the daemon's threads: what holds up a guest or a commit goes before other work,
// what merely takes long does not. All of it needs CAP_SYS_NICE, and is done without where it is
// not permitted. sched(7).
#pragma once

#include <sched.h>
#include <sys/resource.h>

namespace understudy {

/// Real-time scheduling for the calling thread and those that it starts: for threads that are short
/// of time and never work long. False: not permitted.
[[nodiscard]] inline bool ask_for_real_time() {
  const sched_param priority{.sched_priority = 10};
  return ::sched_setscheduler(0, SCHED_RR, &priority) == 0;
}

inline void leave_real_time() {
  const sched_param ordinary{};
  ::sched_setscheduler(0, SCHED_OTHER, &ordinary);
}

/// For a thread that works long beside a running guest. A real-time thread takes the processor from
/// a vCPU even when another one is idle; a preferred ordinary thread looks for the idle one.
inline void prefer_this_thread() {
  leave_real_time();
  ::setpriority(PRIO_PROCESS, 0, -10);
}

/// While it lives, nothing ordinary keeps the calling (preferred) thread waiting: a guest is
/// paused.
class RealTimeSection {
 public:
  RealTimeSection() { static_cast<void>(ask_for_real_time()); }
  RealTimeSection(const RealTimeSection&) = delete;
  RealTimeSection& operator=(const RealTimeSection&) = delete;
  ~RealTimeSection() { leave_real_time(); }
};

/// While it lives, the calling thread is like any other program's.
class OrdinaryPriority {
 public:
  OrdinaryPriority() : nice_{::getpriority(PRIO_PROCESS, 0)} { ::setpriority(PRIO_PROCESS, 0, 0); }
  OrdinaryPriority(const OrdinaryPriority&) = delete;
  OrdinaryPriority& operator=(const OrdinaryPriority&) = delete;
  ~OrdinaryPriority() { ::setpriority(PRIO_PROCESS, 0, nice_); }

 private:
  int nice_;
};

}  // namespace understudy
