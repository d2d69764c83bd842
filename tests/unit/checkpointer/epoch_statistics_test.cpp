#include <catch2/catch.hpp>

#include "checkpointer/epoch_statistics.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

TEST_CASE("an empty window has no quantiles and no mean") {
  const EpochWindow window;
  CHECK(window.quantiles().count == 0);
  CHECK(window.quantiles().max == 0);
  CHECK(window.mean() == 0);
}

TEST_CASE("quantiles are of the samples, in whatever order they came") {
  EpochWindow window;
  for (int i = 0; i < 100; ++i) window.add((i * 37) % 100 + 1);
  const auto quantiles = window.quantiles();
  CHECK(quantiles.count == 100);
  CHECK(quantiles.p50 == 50);
  CHECK(quantiles.p99 == 99);
  CHECK(quantiles.max == 100);
  CHECK(quantiles.last == (99 * 37) % 100 + 1);
  CHECK(window.mean() == Approx(50.5));
}

TEST_CASE("one sample is every quantile") {
  EpochWindow window;
  window.add(7);
  const auto quantiles = window.quantiles();
  CHECK((quantiles.p50 == 7 && quantiles.p99 == 7 && quantiles.max == 7 && quantiles.last == 7));
}

TEST_CASE("old samples leave the window, but count") {
  EpochWindow window;
  for (int i = 0; i < 1024; ++i) window.add(1'000'000);
  for (int i = 0; i < 1024; ++i) window.add(2);
  const auto quantiles = window.quantiles();
  CHECK(quantiles.count == 2048);
  CHECK(quantiles.max == 2);
  CHECK(window.mean() == 2);
}

TEST_CASE("statistics sum up what epochs cost") {
  EpochStatistics statistics;
  CHECK(statistics.summary().epochs_per_second == 0);
  statistics.sealed({milliseconds{1}, milliseconds{20}, 10, 1000});
  statistics.sealed({milliseconds{3}, milliseconds{30}, 30, 3000});
  statistics.committed(milliseconds{5});
  const auto summary = statistics.summary();
  CHECK(summary.pause_us.count == 2);
  CHECK(summary.pause_us.max == 3000);
  CHECK(summary.commit_latency_us.last == 5000);
  CHECK(summary.pages_per_epoch == 20);
  CHECK(summary.bytes_per_epoch == 2000);
  CHECK(summary.epochs_per_second == Approx(40));
  const auto totals = statistics.totals();
  CHECK(totals.dirty_pages == 40);
  CHECK(totals.bytes == 4000);
  CHECK(totals.pause.sum() == Approx(0.004));
  CHECK(totals.pause.counts().at(1) == 1);  // a bound is part of its bucket: 1 ms and below
  CHECK(totals.commit_latency.counts().at(4) == 1);
}

TEST_CASE("a histogram's last bucket is for what is above all bounds") {
  LatencyHistogram histogram{latency_bounds};
  histogram.add(0);
  histogram.add(1);
  histogram.add(1.1);
  CHECK(histogram.counts().front() == 1);
  CHECK(histogram.counts().at(latency_bounds.size() - 1) == 1);
  CHECK(histogram.counts().back() == 1);
}
