#include "failover/drill_calendar.hpp"

#include <catch2/catch.hpp>

#include "config/limits.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

using Drills = std::vector<DrillCalendar::Drill>;

config::Config two_guests() {
  config::Config config;
  auto& hourly = *config.add_guest();
  hourly.set_name("hourly");
  hourly.mutable_drill()->set_schedule("*:30");
  auto& often = *config.add_guest();
  often.set_name("often");
  often.mutable_drill()->set_schedule("*:0/10");
  config.add_guest()->set_name("never");
  return config;
}

/// On an hour's first second in every time zone with whole half hours.
UnixTime at(seconds after) {
  return UnixTime{seconds{1'764'295'200} + after};
}

}  // namespace

TEST_CASE("a scheduled drill is due until it is taken, or too late") {
  DrillCalendar calendar{two_guests()};
  CHECK(calendar.next().empty());
  CHECK(calendar.due(at(seconds{1})).empty());
  REQUIRE(calendar.next().size() == 2);
  CHECK(calendar.next()[0].guest() == "often");
  CHECK(static_cast<std::int64_t>(calendar.next()[0].at_unix_us()) ==
        at(seconds{600}).time_since_epoch().count());
  CHECK(calendar.next()[0].schedule() == "*:0/10");

  CHECK(calendar.due(at(seconds{599})).empty());
  CHECK(calendar.due(at(seconds{600})) == Drills{{"often"}});
  CHECK(calendar.due(at(seconds{700})) == Drills{{"often"}});
  calendar.taken({"often"}, at(seconds{700}));
  CHECK(calendar.due(at(seconds{701})).empty());
  CHECK(calendar.due(at(seconds{1200})) == Drills{{"often"}});
  // An hour later nobody wants it any more; what would have come meanwhile is left out.
  const auto late = seconds{1201} + limits::drill_lateness;
  CHECK(calendar.due(at(late)) == Drills{{"hourly"}});
}

TEST_CASE("real drills have a schedule of their own") {
  auto config = two_guests();
  config.mutable_guest(1)->mutable_drill()->set_real_schedule("*:0/20");
  DrillCalendar calendar{config};
  CHECK(calendar.due(at(seconds{601})).empty());
  CHECK(calendar.due(at(seconds{1200})) == Drills{{"often"}, {"often", true}});
  calendar.taken({"often", true}, at(seconds{1200}));
  CHECK(calendar.due(at(seconds{1201})) == Drills{{"often"}});
  CHECK(calendar.next().front().guest() == "often");
  CHECK(calendar.next().back().real());
}

TEST_CASE("a clock that was far ahead puts off no drill") {
  DrillCalendar calendar{two_guests()};
  CHECK(calendar.due(at(seconds{1})).empty());
  CHECK(calendar.due(at(seconds{400 * 86'400 + 1})).empty());
  CHECK(calendar.due(at(seconds{2})).empty());
  CHECK(calendar.due(at(seconds{600})) == Drills{{"often"}});
  calendar.taken({"often"}, at(seconds{600}));
  CHECK(calendar.due(at(seconds{598})).empty());
  CHECK(calendar.due(at(seconds{600})).empty());  // not once more
}
