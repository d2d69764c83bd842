#include "checkpointer/rate_limit.hpp"

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::checkpointer;

TEST_CASE("a rate is kept, without bursts after a rest") {
  RateLimit limit{1000};
  const TimePoint start{std::chrono::hours{1}};
  CHECK(limit.spend(500, start) == start + milliseconds{500});
  CHECK(limit.spend(500, start) == start + milliseconds{1000});
  const auto later = start + std::chrono::seconds{10};
  CHECK(limit.spend(100, later) == later + milliseconds{100});
}

TEST_CASE("without a rate nobody waits") {
  RateLimit limit{0};
  const TimePoint start{std::chrono::hours{1}};
  CHECK(limit.spend(std::uint64_t{1} << 40U, start) == start);
}
