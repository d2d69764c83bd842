#include "failover/fencing.hpp"

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "two_hosts.hpp"

namespace understudy::sim {
namespace {

void start_protected(World& world) {
  start_on_a(world);
  protect_to_b(world);
}

TEST_CASE("of two hosts, the survivor takes over when the other has been fenced", "[fencing]") {
  World world{1, {.hosts = 2}};
  world.with_fencing = true;
  world.two_node = GENERATE(false, true);
  start_protected(world);
  SECTION("dead") {
    world.kill(a);
  }
  SECTION("standing still: the fence kills it") {
    world.freeze(a);
  }
  SECTION("stopped, which needs no fence") {
    world.leave(a);
  }
  world.settle();
  CHECK(world.on(b).runs);
  CHECK(world.on(b).output() == Output::open);
  CHECK_FALSE(world.at(a).alive);
  CHECK(world.at(b).book->decides_alone());

  world.end_fencing();
  world.revive(a);
  world.settle();
  CHECK_FALSE(world.at(b).book->decides_alone());
  CHECK(world.at(a).book->decided(world.guest().name()).active == NodeId{2});
  CHECK(world.violation.empty());
}

TEST_CASE("without a fence that succeeds nobody takes over, before an operator confirms",
          "[fencing]") {
  World world{2, {.hosts = 2}};
  world.with_fencing = GENERATE(false, true);
  world.failing_fences = 4;
  start_protected(world);
  world.kill(a);
  world.settle();
  CHECK_FALSE(world.on(b).runs);
  world.confirm_dead(b);
  world.settle();
  CHECK(world.on(b).runs);
  CHECK(world.on(b).output() == Output::open);
}

TEST_CASE("a host that boots alone fences nobody, and may be behind", "[fencing]") {
  World world{3, {.hosts = 2}};
  world.with_fencing = true;
  start_protected(world);
  world.kill(a);
  world.settle();
  REQUIRE(world.on(b).runs);
  world.kill(b);
  const auto fences = world.fences;
  world.revive(a);
  world.settle();
  CHECK(world.fences == fences);
  CHECK_FALSE(world.at(a).book->ready());
  CHECK_FALSE(world.on(a).role->start(*world.at(a).book));

  SECTION("the other tells it") {
    world.revive(b);
    world.settle();
    CHECK(world.at(a).book->decided(world.guest().name()).home == NodeId{2});
  }
  SECTION("an operator makes what it remembers hold, for ever") {
    world.confirm_dead(a);
    world.settle();
    REQUIRE(world.on(a).role->start(*world.at(a).book));
    world.settle();
    CHECK(world.on(a).runs);
    world.revive(b);
    world.settle();
    CHECK(world.on(a).runs);
    CHECK(world.at(b).book->decided(world.guest().name()).active == NodeId{1});
  }
  CHECK(world.violation.empty());
}

TEST_CASE("a host that lost its memory has a vote again when the other knows all", "[fencing]") {
  World world{4, {.hosts = 2}};
  start_protected(world);
  world.kill(b);
  world.at(b).disk.Clear();
  world.at(b).disk.set_damaged(GENERATE(false, true));
  world.revive(b);
  world.settle();
  CHECK(world.at(a).book->ready());
  CHECK(world.at(b).book->voter());
  CHECK(world.at(b).book->decided(world.guest().name()).active == NodeId{1});
}

TEST_CASE("an agent is tried again, and ever more rarely", "[fencing]") {
  World world{5, {.hosts = 2}};
  start_protected(world);
  world.kill(a);
  world.settle();
  const auto& book = *world.at(b).book;
  failover::Fencing fencing{{milliseconds{500}, 2}};
  TimePoint now{seconds{10}};
  CHECK_FALSE(fencing.decide(book, now));  // the delay
  now += milliseconds{500};
  const auto first = fencing.decide(book, now);
  REQUIRE(first);
  CHECK_FALSE(fencing.finished(*first, fail(ErrorKind::io, "deaf"), now));
  CHECK(fencing.state() == failover::Fencing::State::waiting);
  now += limits::fencing_pause;
  const auto second = fencing.decide(book, now);
  REQUIRE(second);
  CHECK_FALSE(fencing.finished(*first, {}, now));  // it was over
  CHECK_FALSE(fencing.finished(*second, fail(ErrorKind::io, "deaf"), now));
  CHECK(fencing.state() == failover::Fencing::State::failed);
  CHECK(fencing.failure() == "deaf");
  CHECK_FALSE(fencing.decide(book, now + limits::fencing_pause));
  now += limits::fencing_retry;
  const auto third = fencing.decide(book, now);
  REQUIRE(third);
  CHECK(fencing.finished(*third, {}, now));
}

}  // namespace
}  // namespace understudy::sim
