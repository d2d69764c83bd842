#include <random>
#include <set>

#include <catch2/catch.hpp>

#include "replication/replay_window.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {
constexpr std::uint64_t width = limits::replay_window_records;
}

TEST_CASE("a number is fresh once") {
  ReplayWindow window;
  for (const std::uint64_t number : {0, 5, 3, 4, 100, 99}) {
    CHECK(window.fresh(number));
    window.accept(number);
    CHECK_FALSE(window.fresh(number));
  }
  CHECK(window.fresh(1));
  CHECK_FALSE(window.fresh(0));
}

TEST_CASE("what is older than the window is never fresh") {
  ReplayWindow window;
  window.accept(10 * width);
  CHECK(window.fresh(9 * width + 1));
  CHECK_FALSE(window.fresh(9 * width));
  CHECK_FALSE(window.fresh(0));
  // Accepted nevertheless, it changes nothing.
  window.accept(9 * width);
  CHECK(window.fresh(10 * width - 1));
}

TEST_CASE("a jump over the whole window forgets what was in it") {
  ReplayWindow window;
  for (std::uint64_t number = 0; number < width; ++number) window.accept(number);
  window.accept(3 * width);
  for (std::uint64_t number = 2 * width + 1; number < 3 * width; ++number) {
    REQUIRE(window.fresh(number));
  }
}

TEST_CASE("the last numbers there are do no harm") {
  ReplayWindow window;
  const auto last = ~std::uint64_t{0};
  window.accept(last - 2);
  window.accept(last);
  CHECK(window.fresh(last - 1));
  CHECK_FALSE(window.fresh(last));
  CHECK_FALSE(window.fresh(0));
}

TEST_CASE("the window agrees with a list of everything that came") {
  std::mt19937_64 random{7};
  ReplayWindow window;
  std::set<std::uint64_t> came;
  std::uint64_t newest = 0;
  for (int step = 0; step < 200'000; ++step) {
    const auto back = random() % (random() % 8 == 0 ? 3 * width : 40);
    const auto ahead = random() % (random() % 512 == 0 ? 2 * width : 3);
    const auto number = newest + ahead - std::min(newest + ahead, back);
    const bool in_window = came.empty() || number > newest || newest - number < width;
    REQUIRE(window.fresh(number) == (in_window && !came.contains(number)));
    if (random() % 4 == 0) continue;  // its tag did not hold
    window.accept(number);
    if (in_window) {
      newest = came.empty() ? number : std::max(newest, number);
      came.insert(number);
    }
  }
}
