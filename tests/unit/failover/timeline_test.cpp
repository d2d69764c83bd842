#include "failover/monitoring/timeline.hpp"

#include <catch2/catch.hpp>

#include "config/limits.hpp"

using namespace understudy;
using namespace understudy::failover;
using namespace std::chrono_literals;

namespace {

const UnixTime noon{std::chrono::hours{400'000}};

Settings settings(const std::string& here) {
  std::string text = "cluster: \"test\" this_host: \"" + here + "\"\n";
  int id = 0;
  for (const auto* name : {"a", "b", "w"}) {
    text +=
        fmt::format("host {{ name: \"{}\" node_id: {} replication_address: \"10.0.0.{}:7400\" }}\n",
                    name, ++id, id);
  }
  auto parsed = Settings::parse(text, "the test");
  INFO((parsed ? std::string{} : parsed.error().message));
  REQUIRE(parsed);
  return *parsed;
}

control::Event event(const std::string& host, int number, UnixTime at) {
  control::Event one;
  one.set_id(fmt::format("{}-{}", host, number));
  one.set_host(host);
  one.set_event("HOST_LOST");
  one.set_detail("host x is not seen any more");
  one.set_at_unix_us(unix_us(at));
  return one;
}

control::DrillReport drill(const std::string& host, const std::string& id, UnixTime at) {
  control::DrillReport one;
  one.set_id(id);
  one.set_guest("pg");
  one.set_host(host);
  one.set_started_unix_us(unix_us(at));
  one.set_passed(true);
  one.set_recovery_us(300'000);
  one.add_step()->set_name("start a second machine");
  return one;
}

struct Host {
  explicit Host(const std::string& name) : configuration{settings(name)}, timeline{configuration} {}

  void tell(Host& other, UnixTime at, Duration ahead = {}) {
    while (const auto told = timeline.next(at)) {
      CHECK(told->ByteSizeLong() <= limits::timeline_message_bytes + 64);
      other.timeline.hear(id, *told, at + std::chrono::duration_cast<microseconds>(ahead));
    }
  }
  [[nodiscard]] std::string ids(UnixTime at) {
    std::string text;
    const auto list = timeline.events(at);
    for (const auto& one : list.event()) text += one.id() + " ";
    return text;
  }
  [[nodiscard]] control::DrillList elsewhere() const {
    control::DrillList list;
    timeline.add_elsewhere(list);
    return list;
  }

  Settings configuration;
  NodeId id{configuration.this_host().node_id()};
  Timeline timeline;
};

}  // namespace

TEST_CASE("events are kept for an hour, and not more than so many") {
  Host a{"a"};
  for (std::size_t i = 0; i < limits::events_kept + 3; ++i)
    a.timeline.add(event("a", static_cast<int>(i), noon + microseconds{i}));
  const auto list = a.timeline.events(noon + 1s);
  CHECK(static_cast<std::size_t>(list.event_size()) == limits::events_kept);
  CHECK(list.event(0).id() == fmt::format("a-{}", limits::events_kept + 2));
  const auto after = noon + microseconds{limits::events_age};
  CHECK(a.timeline.events(after + 100us).event_size() ==
        static_cast<int>(limits::events_kept + 3 - 100));
  CHECK(a.timeline.events(after + 1s).event().empty());
}

TEST_CASE("what hosts tell each other is on the page of each, once and in order") {
  Host a{"a"};
  Host b{"b"};
  a.timeline.add(event("a", 1, noon));
  b.timeline.add(event("b", 1, noon + 1s));
  a.timeline.add(event("a", 2, noon + 2s));
  a.timeline.add(drill("a", "pg-1", noon));
  a.tell(b, noon + 3s);
  b.tell(a, noon + 3s);
  CHECK(a.ids(noon + 3s) == "a-2 b-1 a-1 ");
  CHECK(b.ids(noon + 3s) == "a-2 b-1 a-1 ");
  CHECK(a.elsewhere().elsewhere().empty());
  REQUIRE(b.elsewhere().elsewhere_size() == 1);
  CHECK(b.elsewhere().elsewhere(0).recovery_us() == 300'000);
  CHECK(b.elsewhere().elsewhere(0).step().empty());
  CHECK_FALSE(a.timeline.next(noon + 3s));
  CHECK_FALSE(b.timeline.next(noon + 3s));
  a.timeline.tell_again();
  a.tell(b, noon + 4s);
  CHECK(b.ids(noon + 4s) == "a-2 b-1 a-1 ");
}

TEST_CASE("a host that began anew learns its own events and those of the dead from the others") {
  Host a{"a"};
  Host b{"b"};
  b.timeline.add(event("b", 1, noon));
  b.timeline.add(drill("b", "pg-1", noon));
  a.timeline.add(event("a", 1, noon + 1s));
  b.tell(a, noon + 1s);
  a.tell(b, noon + 1s);
  for (const auto* name : {"a", "b", "w"}) {
    Host anew{name};
    a.timeline.tell_again();
    a.tell(anew, noon + 2s);
    CHECK(anew.ids(noon + 2s) == "a-1 b-1 ");
    CHECK(anew.elsewhere().elsewhere_size() == (std::string{name} == "b" ? 0 : 1));
  }
}

TEST_CASE("what somebody else has just told need not be told again") {
  Host a{"a"};
  Host b{"b"};
  Host w{"w"};
  a.timeline.add(event("a", 1, noon));
  const auto told = a.timeline.next(noon);
  REQUIRE(told);
  b.timeline.hear(a.id, *told, noon);
  b.timeline.tell_again();
  a.timeline.tell_again();
  const auto again = a.timeline.next(noon);
  REQUIRE(again);
  b.timeline.hear(a.id, *again, noon);
  CHECK_FALSE(b.timeline.next(noon));
  w.timeline.hear(a.id, *again, noon);
  CHECK(w.ids(noon) == "a-1 ");
}

TEST_CASE("clocks that are apart do not mix up what happened first") {
  Host a{"a"};
  Host b{"b"};
  const auto ahead = std::chrono::hours{24};
  a.timeline.add(event("a", 1, noon));
  b.timeline.add(event("b", 1, noon + ahead + 1s));
  a.timeline.add(event("a", 2, noon + 2s));
  b.tell(a, noon + ahead + 3s, -ahead);
  a.tell(b, noon + 3s, ahead);
  CHECK(a.ids(noon + 3s) == "a-2 b-1 a-1 ");
  CHECK(b.ids(noon + ahead + 3s) == "a-2 b-1 a-1 ");
}

TEST_CASE("a clock that was set back leaves nothing in the future, and nothing old comes as new") {
  Host a{"a"};
  Host b{"b"};
  const auto ahead = noon + 2h;
  a.timeline.add(event("a", 1, ahead));
  a.timeline.add(drill("a", "pg-1", ahead));
  CHECK_FALSE(a.timeline.next(noon));
  CHECK(a.ids(noon).empty());
  a.timeline.add(event("a", 2, noon));
  a.tell(b, noon);
  CHECK(b.ids(noon) == "a-2 ");
  peer::Timeline strange;
  strange.set_told_unix_us(unix_us(noon));
  *strange.add_event() = event("a", 3, ahead);
  *strange.add_drill() = drill("a", "pg-2", ahead);
  b.timeline.hear(a.id, strange, noon);
  CHECK(b.ids(noon) == "a-2 ");
  CHECK(b.elsewhere().elsewhere().empty());
  CHECK(b.timeline.events(UnixTime{1s}).event().empty());  // in 1970
  b.timeline.add(event("b", 1, UnixTime{1s}));
  CHECK(b.ids(UnixTime{2s}) == "b-1 ");
}

TEST_CASE("of what a host did its own word is the best") {
  Host a{"a"};
  Host b{"b"};
  Host w{"w"};
  a.timeline.add(drill("a", "pg-1", noon - 2h));
  a.tell(b, noon, -24h);  // b's clock is a day late, and is then set right
  b.timeline.tell_again();
  b.tell(w, noon + 1s);
  CHECK(w.elsewhere().elsewhere(0).started_unix_us() == unix_us(noon - 26h));
  a.timeline.tell_again();
  a.tell(w, noon + 2s);
  REQUIRE(w.elsewhere().elsewhere_size() == 1);
  CHECK(w.elsewhere().elsewhere(0).started_unix_us() == unix_us(noon - 2h));
  b.timeline.tell_again();
  b.tell(w, noon + 3s);
  CHECK(w.elsewhere().elsewhere(0).started_unix_us() == unix_us(noon - 2h));
}

TEST_CASE("rubbish from another host is left out") {
  Host a{"a"};
  peer::Timeline told;
  told.set_told_unix_us(unix_us(noon));
  *told.add_event() = event("nobody", 1, noon);
  told.add_event();
  *told.add_event() = event("b", 1, noon);
  told.mutable_event(2)->set_detail(std::string(limits::told_item_bytes, 'x'));
  *told.add_event() = event("b", 2, noon);
  told.mutable_event(3)->set_id("\"><script>");
  *told.add_drill() = drill("b", "../../etc/passwd", noon);
  *told.add_drill() = drill("a", "pg-of-ours", noon);
  *told.add_drill() = drill("b", "pg-1", noon);
  for (int i = 0; i < 1000; ++i)
    *told.add_drill() = drill("b", fmt::format("pg-old-{}", i), noon - 1h);
  a.timeline.hear(NodeId{2}, told, noon);
  a.timeline.hear(NodeId{77}, told, noon);
  CHECK(a.timeline.events(noon).event().empty());
  const auto list = a.elsewhere();
  CHECK(static_cast<std::size_t>(list.elsewhere_size()) == limits::drills_told);
  CHECK(list.elsewhere(0).id() == "pg-1");
}

TEST_CASE("much is told in pieces, and a long text by its beginning") {
  Host a{"a"};
  Host b{"b"};
  for (int i = 0; i < 400; ++i) {
    auto one = event("a", i, noon + milliseconds{i});
    one.set_detail(std::string(400, 'x'));
    a.timeline.add(std::move(one));
  }
  auto failed = drill("a", "pg-1", noon);
  for (int i = 0; i < 1000; ++i) failed.mutable_failure()->append("ä€");
  a.timeline.add(failed);
  const auto first = a.timeline.next(noon + 1s);
  REQUIRE(first);
  CHECK(first->event(0).id() == "a-399");
  CHECK(first->drill().empty());
  b.timeline.hear(a.id, *first, noon + 1s);
  a.tell(b, noon + 1s);
  CHECK(b.timeline.events(noon + 1s).event_size() == 400);
  const auto list = b.elsewhere();
  REQUIRE(list.elsewhere_size() == 1);
  const auto& text = list.elsewhere(0).failure();
  CHECK(text.size() <= limits::told_text_bytes);
  CHECK(text.size() > limits::told_text_bytes - 4);
  CHECK(failed.failure().starts_with(text));
  peer::Timeline parsed;
  CHECK(parsed.ParseFromString([&] {
    peer::Timeline again;
    *again.add_drill() = list.elsewhere(0);
    return again.SerializeAsString();
  }()));
}
