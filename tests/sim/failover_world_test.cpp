// Some thousands of seeds; understudy_sim runs as many as one likes.
#include "failover_story.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

using namespace understudy;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t seeds = 200;
#else
constexpr std::uint64_t seeds = 2000;
constexpr std::uint64_t seeds_for_a_mutant = 10'000;
#define UNDERSTUDY_MUTANTS
#endif

}  // namespace

TEST_CASE("no faults let two hosts show a guest or take back what was shown, and all heals after") {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    INFO("seed " << seed);
    CHECK(sim::run_failover(seed).failure == "");
  }
}

// Of the checkers, for which sanitizers have nothing to say but cost minutes.
#ifdef UNDERSTUDY_MUTANTS
TEST_CASE("the checkers find each mutant") {
  for (int number = 1; number < sim::mutants; ++number) {
    const auto mutant = static_cast<sim::Mutant>(number);
    INFO(sim::name_of(mutant));
    std::uint64_t seed = 1;
    while (seed <= seeds_for_a_mutant &&
           sim::run_failover(seed, {.mutant = mutant}).failure.empty())
      ++seed;
    CHECK(seed <= seeds_for_a_mutant);
  }
}
#endif

TEST_CASE("a failing story is told with what it needs and no more") {
  const auto told = sim::minimised_failover(1, {.mutant = sim::Mutant::shows_without_quorum});
  INFO(told);
  CHECK(std::ranges::count(told, '\n') >= 1);
  CHECK(std::ranges::count(told, '\n') < sim::story_rounds / 2);
}
