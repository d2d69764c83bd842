#include <filesystem>
#include <fstream>
#include <thread>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "config/names.hpp"
#include "config/settings.hpp"
#include "failover/drill_evidence.hpp"
#include "failover/drill_probes.hpp"
#include "netbuffer/isolated_network.hpp"
#include "temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

control::DrillReport report(std::uint64_t second, const std::string& guest = "pg") {
  const UnixTime at{std::chrono::seconds{1'795'302'900 + second}};
  control::DrillReport one;
  one.set_id(drill_id(guest, at));
  one.set_guest(guest);
  one.set_started_unix_us(static_cast<std::uint64_t>(at.time_since_epoch().count()));
  one.set_passed(true);
  one.set_recovery_us(1'500'000);
  auto& probe = *one.add_probe();
  probe.set_name("sql <bench>");
  probe.set_said("1\n<b>2</b>");
  return one;
}

config::Probe script(const std::string& text, std::uint32_t timeout_s = 5) {
  config::Probe probe;
  probe.set_timeout_s(timeout_s);
  for (const auto* word : {"sh", "-c"}) probe.mutable_script()->add_command(word);
  probe.mutable_script()->add_command(text);
  return probe;
}

const ProbeTarget here{"pg", "127.0.0.1", 42};
bool always() {
  return true;
}

}  // namespace

TEST_CASE("a drill's plan gets its defaults, and what is wrong is told with its line") {
  const auto empty = parse_drill("", "plan");
  REQUIRE(empty);
  REQUIRE(empty->probe_size() == 1);
  CHECK(empty->probe(0).has_ping());
  CHECK(empty->max_commit_ms() == 100);

  const auto ports = parse_drill("tcp_port: [22, 80] probe { sql { expect: \"1\" } }", "plan");
  REQUIRE(ports);
  REQUIRE(ports->probe_size() == 3);
  CHECK(ports->probe(0).sql().query() == "select 1");
  CHECK(ports->probe(0).sql().user() == "postgres");
  CHECK(ports->probe(2).tcp().port() == 80);
  CHECK(ports->probe(2).timeout_s() == 30);

  for (const auto* text :
       {"probe { }", "probe { tcp { } }", "probe { http { port: 70000 } }", "probe { script { } }",
        "max_commit_ms: 100000", "probe { nonsense: 1 }", "probe { ping { } timeout_s: 100000 }"}) {
    const auto plan = parse_drill(text, "plan");
    INFO(text);
    REQUIRE_FALSE(plan);
    CHECK(plan.error().message.starts_with("plan:1"));
  }
  CHECK_FALSE(parse_drill(std::string(limits::drill_plan_bytes + 1, ' '), "plan"));
}

TEST_CASE("addresses of an isolated network") {
  const auto guest = netbuffer::parse_network_address("10.78.0.10/24");
  REQUIRE(guest);
  CHECK(guest->text() == "10.78.0.10");
  CHECK(netbuffer::neighbour_of(*guest).text() == "10.78.0.254");
  CHECK(netbuffer::neighbour_of(*netbuffer::parse_network_address("10.78.0.254/24")).text() ==
        "10.78.0.253");
  for (const auto* text : {"", "10.78.0.10", "10.78.0.10/", "10.78.0.10/33", "10.78.0.0/24",
                           "10.78.0.255/24", "10.78.0.10/24x", "host/24", "10.0.0.1/31"}) {
    INFO(text);
    CHECK_FALSE(netbuffer::parse_network_address(text));
  }
}

TEST_CASE("evidence is kept, found again after a restart, and bounded") {
  const TemporaryDirectory directory;
  const auto state = directory.path().string();
  {
    DrillBook book{state};
    CHECK(book.last("pg") == nullptr);
    for (std::uint64_t i = 0; i < limits::drill_reports + 2; ++i) REQUIRE(book.add(report(i)));
    REQUIRE(book.add(report(0, "other")));
  }
  std::ofstream{state + "/drills/half.json.new"} << "{";
  std::ofstream{state + "/drills/rubbish.json"} << "{";
  const DrillBook book{state};
  CHECK(book.all().size() == limits::drill_reports);
  REQUIRE(book.last("pg") != nullptr);
  CHECK(book.last("pg")->id() == report(limits::drill_reports + 1).id());
  CHECK(book.last("pg")->probe(0).said() == "1\n<b>2</b>");
  CHECK_FALSE(std::filesystem::exists(state + "/drills/half.json.new"));
  CHECK(std::filesystem::exists(state + "/drills/rubbish.json"));
}

TEST_CASE("the page shows the text of others as text") {
  const auto page = drill_page(report(0));
  CHECK(page.find("<b>") == std::string::npos);
  CHECK(page.find("sql &lt;bench&gt;") != std::string::npos);
  CHECK(page.find("1.5 s") != std::string::npos);
}

TEST_CASE("the page of a real drill says how long the guest stood still, and what was not asked") {
  auto one = report(0);
  CHECK(drill_page(one).find("Stood still") == std::string::npos);
  one.set_kind("real");
  one.set_probes_skipped("no way to <it>");
  auto& move = *one.add_move();
  move.set_from("a");
  move.set_to("b");
  move.set_stood_still_us(25'000);
  const auto page = drill_page(one);
  CHECK(page.find("Stood still, from a to b</th><td>25.0 ms") != std::string::npos);
  CHECK(page.find("no way to &lt;it&gt;") != std::string::npos);
}

TEST_CASE("a host knows whether its network leads to a guest") {
  CHECK(check_route("127.0.0.1"));
  CHECK_FALSE(check_route("no address"));
  Result<> isolated;
  bool alone = false;
  std::thread{[&] {
    alone = netbuffer::enter_isolated_network().has_value();
    isolated = check_route("10.78.0.10");
  }}.join();
  if (!alone) {
    WARN("skipped: network namespaces need root");
    return;
  }
  REQUIRE_FALSE(isolated);
  CHECK(isolated.error().message.find("no way to 10.78.0.10") != std::string::npos);
}

TEST_CASE("a drill's name is a file's, and its hash is the configuration's") {
  CHECK(valid_name(drill_id(std::string(limits::name_length, 'x'), unix_now())));
  config::Guest guest;
  guest.set_name("pg");
  config::Drill plan;
  const auto hash = configuration_hash(guest, plan);
  CHECK(hash.size() == 32);
  CHECK(configuration_hash(guest, plan) == hash);
  plan.set_from("10.0.0.1");
  CHECK(configuration_hash(guest, plan) != hash);
}

TEST_CASE("a script is told where the clone is, and its words are bounded and harmless") {
  const auto told = run_probe(script("echo $GUEST $GUEST_ADDRESS $DRILL_EPOCH"), here, always);
  if (!told.passed() && told.said().find("unshare") != std::string::npos) {
    WARN("skipped: process namespaces need root");
    return;
  }
  CHECK(told.passed());
  CHECK(told.said() == "pg 127.0.0.1 42");
  CHECK(told.kind() == "script");
  const auto loud = run_probe(script("yes $(printf 'a\\033[2Jb') | head -c 100000"), here, always);
  CHECK(loud.said().size() <= limits::probe_text_bytes);
  CHECK(loud.said().find('\033') == std::string::npos);
  const auto late = run_probe(script("sleep 100", 1), here, always);
  CHECK_FALSE(late.passed());
  CHECK(late.said() == "did not end in time");
  CHECK_FALSE(run_probe(script("exit 3", 1), here, always).passed());
}

TEST_CASE("a probe that is told to stop stops") {
  int asked = 0;
  const auto begun = now();
  config::Probe probe;
  probe.set_timeout_s(100);
  probe.mutable_tcp()->set_port(9);
  CHECK_FALSE(run_probe(probe, here, [&] { return ++asked < 5; }).passed());
  CHECK(now() - begun < std::chrono::seconds{20});
}
