// The last few hundred measurements of something, and their quantiles. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace understudy::checkpointer {

struct Quantiles {
  std::uint64_t count{};  ///< of all samples ever, not only those in the window
  double p50{};
  double p99{};
  double max{};
  double last{};
};

/// Fixed memory; adding is cheap, asking sorts a copy.
class SampleWindow {
 public:
  void add(double sample);
  [[nodiscard]] Quantiles quantiles() const;
  [[nodiscard]] double mean() const;

 private:
  static constexpr std::size_t capacity = 1024;
  std::array<double, capacity> samples_{};
  std::uint64_t count_{};
};

}  // namespace understudy::checkpointer
