#include "checkpointer/sample_window.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace understudy::checkpointer {

void SampleWindow::add(double sample) {
  samples_[count_++ % capacity] = sample;
}

Quantiles SampleWindow::quantiles() const {
  if (count_ == 0) return {};
  const auto held = std::min<std::uint64_t>(count_, capacity);
  std::vector<double> sorted{samples_.begin(),
                             samples_.begin() + static_cast<std::ptrdiff_t>(held)};
  std::sort(sorted.begin(), sorted.end());
  const auto at = [&](std::size_t percent) { return sorted[(held - 1) * percent / 100]; };
  return {count_, at(50), at(99), sorted.back(), samples_[(count_ - 1) % capacity]};
}

double SampleWindow::mean() const {
  const auto held = std::min<std::uint64_t>(count_, capacity);
  if (held == 0) return 0;
  return std::accumulate(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(held),
                         0.0) /
         static_cast<double>(held);
}

}  // namespace understudy::checkpointer
