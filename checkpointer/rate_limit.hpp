// How fast something may go: spends bytes, and says when to go on. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

#include "config/clock.hpp"

namespace understudy::checkpointer {

class RateLimit {
 public:
  /// 0: no limit.
  explicit RateLimit(std::uint64_t bytes_per_second) : rate_{bytes_per_second} {}

  /// Time that was not used is not saved up: there are no bursts.
  [[nodiscard]] TimePoint spend(std::uint64_t bytes, TimePoint now) {
    if (rate_ == 0) return now;
    const auto nanoseconds =
        static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(rate_));
    next_ = std::max(next_, now) + std::chrono::nanoseconds{nanoseconds};
    return next_;
  }

 private:
  std::uint64_t rate_;
  TimePoint next_{};
};

}  // namespace understudy::checkpointer
