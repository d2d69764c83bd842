// What epochs cost, over the last thousand of them. Thread-safe.
#pragma once

#include <mutex>

#include "checkpointer/sample_window.hpp"
#include "config/clock.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

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
  SampleWindow pauses_;
  SampleWindow latencies_;
  SampleWindow periods_;
  SampleWindow pages_;
  SampleWindow bytes_;
};

}  // namespace understudy::checkpointer
