#include <catch2/catch.hpp>

#include "checkpointer/epoch_machine.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

TimePoint at(int ms) {
  return TimePoint{} + milliseconds{ms};
}

}  // namespace

TEST_CASE("epochs are sealed and committed in order") {
  EpochMachine epochs{3};
  CHECK(epochs.running() == Epoch{1});
  CHECK(epochs.committed() == Epoch{0});
  CHECK(epochs.seal(at(10)) == Epoch{1});
  CHECK(epochs.seal(at(20)) == Epoch{2});
  CHECK(epochs.running() == Epoch{3});
  CHECK(epochs.in_flight() == 2);
  const auto took = epochs.commit(Epoch{1}, at(25));
  REQUIRE(took);
  CHECK(*took == std::vector<Duration>{milliseconds{15}});
  CHECK(epochs.committed() == Epoch{1});
}

TEST_CASE("one commit may cover several epochs") {
  EpochMachine epochs{3};
  for (int i = 1; i <= 3; ++i) epochs.seal(at(10 * i));
  const auto took = epochs.commit(Epoch{3}, at(40));
  REQUIRE(took);
  CHECK(*took == std::vector<Duration>{milliseconds{30}, milliseconds{20}, milliseconds{10}});
  CHECK(epochs.in_flight() == 0);
}

TEST_CASE("the number of epochs in flight is bounded") {
  EpochMachine epochs{2};
  CHECK(epochs.may_seal());
  epochs.seal(at(1));
  CHECK(epochs.may_seal());
  epochs.seal(at(2));
  CHECK_FALSE(epochs.may_seal());
  REQUIRE(epochs.commit(Epoch{1}, at(3)));
  CHECK(epochs.may_seal());
}

TEST_CASE("a commit of an epoch that is not sealed is a protocol error and changes nothing") {
  EpochMachine epochs{2};
  epochs.seal(at(1));
  for (const auto epoch : {Epoch{2}, Epoch{3}, Epoch{~std::uint64_t{0}}}) {
    const auto took = epochs.commit(epoch, at(2));
    REQUIRE_FALSE(took);
    CHECK(took.error().kind == ErrorKind::protocol);
  }
  CHECK(epochs.committed() == Epoch{0});
  CHECK(epochs.in_flight() == 1);
}

TEST_CASE("a commit repeated, or of an epoch before, is no news") {
  EpochMachine epochs{3};
  for (int i = 1; i <= 3; ++i) epochs.seal(at(i));
  REQUIRE(epochs.commit(Epoch{2}, at(4)));
  for (const auto epoch : {Epoch{0}, Epoch{1}, Epoch{2}}) {
    const auto again = epochs.commit(epoch, at(5));
    REQUIRE(again);
    CHECK(again->empty());
  }
  CHECK(epochs.committed() == Epoch{2});
  CHECK(epochs.in_flight() == 1);
}
