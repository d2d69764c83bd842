#include <catch2/catch.hpp>

#include "config/log.hpp"
#include "power_loss_world.hpp"

using namespace understudy;
using namespace understudy::checkpointer;
using power::Mutant;

namespace {

constexpr std::size_t power_loss_ticks = 400;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t power_loss_seeds = 200;  // they make each ten times as long
#else
constexpr std::uint64_t power_loss_seeds = 2000;
#endif

/// Each loss of an id is told, which is too much here.
class OnlyErrors {
 public:
  OnlyErrors() { log::configure(log::Level::error, ""); }
  ~OnlyErrors() { log::configure(log::Level::info, ""); }
  OnlyErrors(const OnlyErrors&) = delete;
  OnlyErrors& operator=(const OnlyErrors&) = delete;
};

/// The first seed after which two images differ; none.
std::optional<std::uint64_t> failing_seed(Mutant mutant, std::uint64_t seeds) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    if (!power::World{seed, mutant}.run(power_loss_ticks)) return seed;
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("what two activity logs leave out is equal, whichever host loses its power, and when") {
  const OnlyErrors quiet;
  std::uint64_t compared = 0;
  std::uint64_t by_map = 0;
  std::uint64_t synchronisations = 0;
  std::uint64_t rewinds = 0;
  for (std::uint64_t seed = 1; seed <= power_loss_seeds; ++seed) {
    CAPTURE(seed);
    power::World world{seed, Mutant::none};
    REQUIRE(world.run(power_loss_ticks));
    compared += world.compared();
    by_map += world.by_map();
    synchronisations += world.synchronisations();
    rewinds += world.rewinds();
  }
  CHECK(rewinds > power_loss_seeds / 10);
  // It would be no use if everything were compared each time.
  CHECK(by_map * 5 > synchronisations);
  CHECK(compared < synchronisations * power::blocks * 3 / 4);
}

TEST_CASE("the model of power losses notices what is done in a wrong order") {
  const OnlyErrors quiet;
  const auto mutant = static_cast<Mutant>(GENERATE(range(1, static_cast<int>(Mutant::count))));
  CAPTURE(static_cast<int>(mutant));
  CHECK(failing_seed(mutant, 2000).has_value());
}
