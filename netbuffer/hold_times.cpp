#include "netbuffer/hold_times.hpp"

#include <algorithm>

#include "config/limits.hpp"

namespace understudy::netbuffer {

HoldTimes::HoldTimes() {
  samples_.reserve(limits::hold_samples);
}

void HoldTimes::add(Duration waited) {
  if (samples_.size() < limits::hold_samples) {
    samples_.push_back(waited);
    return;
  }
  samples_[next_] = waited;
  next_ = (next_ + 1) % samples_.size();
}

HoldTimes::Summary HoldTimes::summary() const {
  if (samples_.empty()) return {};
  auto sorted = samples_;
  std::sort(sorted.begin(), sorted.end());
  const auto last = sorted.size() - 1;
  return {sorted[last / 2], sorted[last * 99 / 100], sorted[last]};
}

}  // namespace understudy::netbuffer
