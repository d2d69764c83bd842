#include "checkpointer/epoch_statistics.hpp"

namespace understudy::checkpointer {
namespace {

double us(Duration duration) {
  return static_cast<double>(in_microseconds(duration).count());
}

double in_seconds(Duration duration) {
  return std::chrono::duration<double>{duration}.count();
}

}  // namespace

void EpochStatistics::sealed(const EpochCost& cost) {
  const std::lock_guard lock{mutex_};
  pauses_.add(us(cost.pause));
  periods_.add(us(cost.period));
  pages_.add(static_cast<double>(cost.dirty_pages));
  bytes_.add(static_cast<double>(cost.bytes));
  totals_.pause.add(in_seconds(cost.pause));
  totals_.dirty_pages += cost.dirty_pages;
  totals_.bytes += cost.bytes;
}

void EpochStatistics::committed(Duration latency) {
  const std::lock_guard lock{mutex_};
  latencies_.add(us(latency));
  totals_.commit_latency.add(in_seconds(latency));
}

EpochSummary EpochStatistics::summary() const {
  const std::lock_guard lock{mutex_};
  const auto period = periods_.mean();
  return {pauses_.quantiles(), latencies_.quantiles(), pages_.mean(), bytes_.mean(),
          period > 0 ? 1e6 / period : 0};
}

EpochTotals EpochStatistics::totals() const {
  const std::lock_guard lock{mutex_};
  return totals_;
}

}  // namespace understudy::checkpointer
