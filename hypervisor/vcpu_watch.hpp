// Whether a guest's processors have anything to do, as the host's scheduler sees their threads.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::hypervisor {

class VcpuWatch {
 public:
  [[nodiscard]] static Result<VcpuWatch> open(pid_t process, std::span<const pid_t> threads);

  /// All of them sleep now: halted, or for a moment for a lock. One whose thread cannot be read
  /// counts as at work.
  [[nodiscard]] bool all_asleep() const;

 private:
  explicit VcpuWatch(std::vector<UniqueFd> states) : states_{std::move(states)} {}

  std::vector<UniqueFd> states_;  ///< proc_pid_stat(5)
};

}  // namespace understudy::hypervisor
