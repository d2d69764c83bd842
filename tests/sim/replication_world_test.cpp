// Some thousands of seeds; understudy_sim runs as many as one likes.
#include "replication_world.hpp"

#include <catch2/catch.hpp>

using namespace understudy;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t seeds = 300;
#else
constexpr std::uint64_t seeds = 3000;
#endif

}  // namespace

TEST_CASE("whatever datagrams meet on their way, no commit comes early and no epoch is lost") {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    INFO("seed " << seed);
    CHECK(sim::run_replication(seed).failure.empty());
  }
}
