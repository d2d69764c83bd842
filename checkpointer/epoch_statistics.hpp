// What epochs cost, over the last thousand of them. Thread-safe.
#pragma once

#include <mutex>

#include "config/clock.hpp"
#include "config/sample_window.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

using Quantiles = understudy::Quantiles<double>;
using EpochWindow = SampleWindow<double, 1024>;

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

class EpochStatistics {
 public:
  void sealed(const EpochCost& cost);
  void committed(Duration latency);
  [[nodiscard]] EpochSummary summary() const;

 private:
  mutable std::mutex mutex_;
  EpochWindow pauses_;
  EpochWindow latencies_;
  EpochWindow periods_;
  EpochWindow pages_;
  EpochWindow bytes_;
};

}  // namespace understudy::checkpointer
