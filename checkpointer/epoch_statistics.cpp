#include "checkpointer/epoch_statistics.hpp"

namespace understudy::checkpointer {
namespace {

double us(Duration duration) {
  return static_cast<double>(in_microseconds(duration).count());
}

}  // namespace

void EpochStatistics::sealed(const EpochCost& cost) {
  const std::lock_guard lock{mutex_};
  pauses_.add(us(cost.pause));
  periods_.add(us(cost.period));
  pages_.add(static_cast<double>(cost.dirty_pages));
  bytes_.add(static_cast<double>(cost.bytes));
}

void EpochStatistics::committed(Duration latency) {
  const std::lock_guard lock{mutex_};
  latencies_.add(us(latency));
}

EpochSummary EpochStatistics::summary() const {
  const std::lock_guard lock{mutex_};
  const auto period = periods_.mean();
  return {pauses_.quantiles(), latencies_.quantiles(), pages_.mean(), bytes_.mean(),
          period > 0 ? 1e6 / period : 0};
}

}  // namespace understudy::checkpointer
