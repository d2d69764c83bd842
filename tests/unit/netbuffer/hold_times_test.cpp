#include "netbuffer/hold_times.hpp"

#include <catch2/catch.hpp>

#include "config/limits.hpp"

using namespace understudy;
using namespace understudy::netbuffer;

TEST_CASE("hold times are summed up over the last packets only") {
  HoldTimes times;
  CHECK(times.quantiles().max == Duration{});
  times.add(seconds{9});
  CHECK(times.quantiles().p50 == seconds{9});
  for (std::size_t i = 0; i < limits::hold_samples; ++i) {
    times.add(milliseconds{i < limits::hold_samples / 50 ? 20 : 3});
  }
  const auto summary = times.quantiles();
  CHECK(summary.p50 == milliseconds{3});
  CHECK(summary.p99 == milliseconds{20});
  CHECK(summary.max == milliseconds{20});
}
