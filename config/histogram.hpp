// How often something took how long, since the start, in buckets of fixed bounds. Pure.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace understudy {

/// `bounds`: upper bounds (inclusive) of the buckets, rising; one more bucket takes what is above.
template <std::size_t buckets>
class Histogram {
 public:
  using Bounds = std::array<double, buckets>;

  constexpr explicit Histogram(const Bounds& bounds) : bounds_{bounds} {}

  void add(double sample) {
    const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), sample) - bounds_.begin();
    ++counts_.at(static_cast<std::size_t>(bucket));
    sum_ += sample;
  }

  [[nodiscard]] const Bounds& bounds() const { return bounds_; }
  /// Of each bucket alone, the one above all bounds last.
  [[nodiscard]] const std::array<std::uint64_t, buckets + 1>& counts() const { return counts_; }
  [[nodiscard]] double sum() const { return sum_; }

 private:
  Bounds bounds_;
  std::array<std::uint64_t, buckets + 1> counts_{};
  double sum_{};
};

}  // namespace understudy
