// How often something may be said, so that nobody can fill the log from outside. Pure.
#pragma once

#include <cstdint>

#include "config/clock.hpp"

namespace understudy::replication {

/// So many lines in a period, which begins with the first of them; the others are counted. One
/// thread.
class LineBudget {
 public:
  LineBudget(std::size_t lines, Duration period) : lines_{lines}, period_{period} {}

  /// May a line be written? If not, it counts as suppressed.
  [[nodiscard]] bool spend(TimePoint at);

  /// From then on lines may be written again.
  [[nodiscard]] TimePoint renewal() const { return begun_ + period_; }

  /// Lines that were not written since this was asked last.
  [[nodiscard]] std::uint64_t take_suppressed();

 private:
  std::size_t lines_;
  Duration period_;
  TimePoint begun_;
  std::size_t spent_{};
  std::uint64_t suppressed_{};
};

}  // namespace understudy::replication
