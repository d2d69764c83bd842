#include <catch2/catch.hpp>

#include "checkpointer/pacer.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Act = Pacer::Act;

TimePoint at(int ms) {
  return TimePoint{} + seconds{100} + milliseconds{ms};
}

/// The running epoch began at 0.
Pace pace(int now_ms) {
  return {at(now_ms), at(0), std::nullopt, true, true};
}

Pacer pacer() {
  return Pacer{{milliseconds{25}, milliseconds{5}}};
}

}  // namespace

TEST_CASE("an epoch without output lasts one interval") {
  const auto early = pacer().decide(pace(24));
  CHECK(early.act == Act::wait);
  CHECK(early.until == at(25));
  CHECK(pacer().decide(pace(25)).act == Act::seal);
  CHECK(pacer().decide(pace(1000)).act == Act::seal);
}

TEST_CASE("output that waits asks for a commit sooner, but not before the least interval") {
  auto waits = pace(4);
  waits.output_waits = at(1);
  const auto early = pacer().decide(waits);
  CHECK(early.act == Act::wait);
  CHECK(early.until == at(5));
  waits.now = at(5);
  CHECK(pacer().decide(waits).act == Act::seal);
}

TEST_CASE("output that has no room ends the epoch, whatever the pauses cost") {
  auto one = pacer();
  one.paused(milliseconds{3});
  auto pressed = pace(4);
  pressed.output_waits = at(1);
  pressed.pressed = true;
  CHECK(one.decide(pressed).until == at(5));
  pressed.now = at(5);
  CHECK(one.decide(pressed).act == Act::seal);
  pressed.room = false;
  CHECK(one.decide(pressed).act == Act::wait);
}

TEST_CASE("long pauses make epochs longer, up to the interval: the guest keeps its share") {
  auto one = pacer();
  CHECK(one.shortest() == milliseconds{5});
  one.paused(microseconds{1'500});
  CHECK(one.shortest() == milliseconds{18});
  auto waits = pace(17);
  waits.output_waits = at(0);
  CHECK(one.decide(waits).act == Act::wait);
  CHECK(one.decide(waits).until == at(18));
  for (int i = 0; i < 100; ++i) one.paused(milliseconds{50});
  CHECK(one.shortest() == milliseconds{25});
}

TEST_CASE(
    "output of a guest that idles is committed at once, but pauses still do not eat its time") {
  auto one = pacer();
  one.paused(milliseconds{3});
  auto waits = pace(5);
  waits.output_waits = at(1);
  waits.idle = true;
  CHECK_FALSE(one.idle_matters(waits));
  CHECK(one.decide(waits).act == Act::wait);
  CHECK(one.decide(waits).until == at(6));
  waits.now = at(6);
  CHECK(one.idle_matters(waits));
  CHECK(one.decide(waits).act == Act::seal);

  auto busy = waits;
  busy.idle = false;
  CHECK(one.decide(busy).act == Act::wait);
  CHECK(one.decide(busy).until == at(7));  // looks again
  busy.now = at(24);
  CHECK(one.decide(busy).until == at(25));

  auto silent = waits;
  silent.output_waits.reset();
  CHECK(one.decide(silent).until == at(25));
  auto full = waits;
  full.room = false;
  CHECK(one.decide(full).act == Act::wait);
}

TEST_CASE("one long pause is weather, many are climate") {
  auto one = pacer();
  one.paused(milliseconds{1});
  one.paused(milliseconds{5});
  CHECK(one.shortest() == milliseconds{18});
  for (int i = 0; i < 100; ++i) one.paused(microseconds{100});
  CHECK(one.shortest() == milliseconds{5});
}

TEST_CASE("without room the epoch is stretched, then the guest is stalled") {
  auto full = pace(99);
  full.room = false;
  full.output_waits = at(0);
  const auto stretched = pacer().decide(full);
  CHECK(stretched.act == Act::wait);
  CHECK(stretched.until == at(100));
  full.now = at(100);
  CHECK(pacer().decide(full).act == Act::stall);
  full.room = true;
  CHECK(pacer().decide(full).act == Act::seal);
}

TEST_CASE("a link that is down does not stall the guest") {
  auto cut = pace(5000);
  cut.room = false;
  cut.link_up = false;
  const auto decision = pacer().decide(cut);
  CHECK(decision.act == Act::wait);
  CHECK(decision.until > cut.now);
}

TEST_CASE("a decision to wait always names a moment to come") {
  for (int ms = 0; ms < 200; ++ms) {
    for (const bool room : {false, true}) {
      for (const bool link_up : {false, true}) {
        auto one = pace(ms);
        one.room = room;
        one.link_up = link_up;
        if (ms % 2 == 0) one.output_waits = at(ms / 2);
        const auto decision = pacer().decide(one);
        if (decision.act == Act::wait) REQUIRE(decision.until > one.now);
      }
    }
  }
}
