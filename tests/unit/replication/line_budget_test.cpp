#include "replication/line_budget.hpp"

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::replication;

TEST_CASE("so many lines are written in a period, the others are counted") {
  LineBudget budget{2, seconds{1}};
  const TimePoint start{seconds{50}};
  CHECK(budget.spend(start));
  CHECK(budget.spend(start + milliseconds{900}));
  CHECK(budget.renewal() == start + seconds{1});
  CHECK_FALSE(budget.spend(start + milliseconds{950}));
  CHECK_FALSE(budget.spend(start + milliseconds{999}));
  CHECK(budget.take_suppressed() == 2);
  CHECK(budget.take_suppressed() == 0);
  CHECK(budget.spend(start + seconds{1}));
  CHECK(budget.renewal() == start + seconds{2});
  CHECK(budget.take_suppressed() == 0);
}

TEST_CASE("a period begins with its first line, however long nothing was said") {
  LineBudget budget{1, seconds{1}};
  CHECK(budget.spend(TimePoint{}));
  CHECK(budget.spend(TimePoint{seconds{10}}));
  CHECK_FALSE(budget.spend(TimePoint{seconds{10}} + milliseconds{999}));
}
