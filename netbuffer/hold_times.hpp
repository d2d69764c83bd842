// How long the last packets waited for their commit. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "config/clock.hpp"

namespace understudy::netbuffer {

class HoldTimes {
 public:
  HoldTimes();
  void add(Duration waited);

  struct Summary {
    Duration p50;
    Duration p99;
    Duration max;
  };
  /// Over the last limits::hold_samples packets; zeros when there was none.
  [[nodiscard]] Summary summary() const;

 private:
  std::vector<Duration> samples_;  // a ring once it is full
  std::size_t next_{};
};

}  // namespace understudy::netbuffer
