// Some thousands of seeds; replication_sim runs as many as one likes.
#include <catch2/catch.hpp>

#include "replication_world.hpp"

using namespace understudy;

TEST_CASE("whatever datagrams meet on their way, no commit comes early and no epoch is lost") {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    INFO("seed " << seed);
    CHECK(sim::run_replication(seed).failure.empty());
  }
}
