// What epochs cost: the last thousand of them, and all since protection began. Thread-safe.
#pragma once

#include <mutex>

#include "config/clock.hpp"
#include "config/histogram.hpp"
#include "config/sample_window.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

using Quantiles = understudy::Quantiles<double>;
using EpochWindow = SampleWindow<double, 1024>;

/// Seconds; fine where checkpoints lie, coarse where trouble begins.
using LatencyHistogram = Histogram<14>;
inline constexpr LatencyHistogram::Bounds latency_bounds{.0005, .001, .002, .003, .005, .0075, .01,
                                                         .015,  .025, .05,  .1,   .25,  .5,    1};

struct EpochCost {
  Duration pause;
  Duration period;  ///< since the last epoch was sealed
  std::uint64_t dirty_pages;
  std::uint64_t bytes;
};

struct EpochSummary {
  Quantiles pause_us;
  Quantiles commit_latency_us;  ///< from the pause to the backup's acknowledgement
  double pages_per_epoch{};
  double bytes_per_epoch{};
  double epochs_per_second{};
};

/// Since protection began.
struct EpochTotals {
  LatencyHistogram pause{latency_bounds};
  LatencyHistogram commit_latency{latency_bounds};
  std::uint64_t dirty_pages{};
  std::uint64_t bytes{};  ///< sent for them
};

class EpochStatistics {
 public:
  void sealed(const EpochCost& cost);
  void committed(Duration latency);
  [[nodiscard]] EpochSummary summary() const;
  [[nodiscard]] EpochTotals totals() const;

 private:
  mutable std::mutex mutex_;
  EpochWindow pauses_;
  EpochWindow latencies_;
  EpochWindow periods_;
  EpochWindow pages_;
  EpochWindow bytes_;
  EpochTotals totals_;
};

}  // namespace understudy::checkpointer
