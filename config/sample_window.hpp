// The last measurements of something, and their quantiles. Pure.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace understudy {

template <class Sample>
struct Quantiles {
  std::uint64_t count{};  ///< of all samples ever, not only those in the window
  Sample p50{};
  Sample p99{};
  Sample max{};
  Sample last{};
};

/// Fixed memory; adding is cheap, asking sorts a copy. All zero when there was no sample.
template <class Sample, std::size_t capacity>
class SampleWindow {
 public:
  void add(Sample sample) { samples_[count_++ % capacity] = sample; }

  [[nodiscard]] Quantiles<Sample> quantiles() const {
    if (count_ == 0) return {};
    std::vector<Sample> sorted{samples_.begin(), end()};
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&](std::size_t percent) {
      return sorted[(sorted.size() - 1) * percent / 100];
    };
    return {count_, at(50), at(99), sorted.back(), samples_[(count_ - 1) % capacity]};
  }

  [[nodiscard]] Sample mean() const {
    if (count_ == 0) return {};
    return std::accumulate(samples_.begin(), end(), Sample{}) /
           static_cast<Sample>(end() - samples_.begin());
  }

 private:
  [[nodiscard]] auto end() const {
    return samples_.begin() +
           static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(count_, capacity));
  }

  std::array<Sample, capacity> samples_{};
  std::uint64_t count_{};
};

}  // namespace understudy
