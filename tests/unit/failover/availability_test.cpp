#include "failover/monitoring/availability.hpp"

#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

#include "failover/console/sla_view.hpp"
#include "failover/monitoring/availability_book.hpp"
#include "tests/unit/failover/temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;
using namespace std::chrono_literals;

namespace {

UnixTime day(int year, unsigned month, unsigned number) {
  return std::chrono::sys_days{std::chrono::year{year} / month / number};
}

/// Two clocks that run together, until somebody sets one of them.
struct Clocks {
  UnixTime wall{day(2026, 11, 21)};
  TimePoint steady{1h};

  AvailabilityAccount::Moment after(microseconds time) {
    wall += time;
    steady += time;
    return {wall, steady};
  }
  [[nodiscard]] AvailabilityAccount::Moment at() const { return {wall, steady}; }
};

const control::MonthAccount& november(const AvailabilityAccount& account) {
  const auto* month = find_month(account.known(), 202611);
  REQUIRE(month != nullptr);
  return *month;
}

std::uint64_t us(microseconds time) {
  return static_cast<std::uint64_t>(time.count());
}

control::Guest report_of(control::GuestState state, const std::string& active) {
  control::Guest report;
  report.set_name("pg");
  report.set_state(state);
  report.set_active_host(active);
  return report;
}

}  // namespace

TEST_CASE("time counts as what the guest was when it began") {
  Clocks clocks;
  AvailabilityAccount account;
  account.observe(Service::is_booting, clocks.at());
  account.observe(Service::is_unprotected, clocks.after(6s));  // the first boot is no outage
  account.observe(Service::is_protected, clocks.after(10s));
  account.observe(Service::is_down, clocks.after(60s));
  account.observe(Service::is_down, clocks.after(1s));
  account.observe(Service::is_protected, clocks.after(1s));
  account.observe(Service::is_down, clocks.after(20s));
  account.observe(Service::is_stopped, clocks.after(500ms));
  account.observe(Service::is_booting, clocks.after(1h));
  account.observe(Service::is_protected, clocks.after(5s));
  const auto& month = november(account);
  CHECK(month.unprotected_us() == us(10s));
  CHECK(month.protected_us() == us(80s));
  CHECK(month.down_us() == us(2500ms));
  CHECK(month.outages() == 2);
  CHECK(month.longest_outage_us() == us(2s));
  CHECK(month.stopped_us() == us(1h + 11s));
  CHECK(*availability(month) == Approx(90 / 92.5));
}

TEST_CASE("a failover's outage begins with the last checkpoint and ends when the guest runs") {
  Clocks clocks;
  AvailabilityAccount a;
  a.observe(Service::is_protected, clocks.at());
  a.observe(Service::is_protected, clocks.after(100s));
  AvailabilityAccount b;
  b.take_over(a.known());
  b.proven(clocks.after(700ms).wall);  // then host a dies
  b.observe(Service::is_down, clocks.after(450ms));
  b.observe(Service::is_unprotected, clocks.after(10ms));
  b.moved_here(clocks.wall, AvailabilityAccount::Cause::host_lost);
  b.moved_here(clocks.wall, AvailabilityAccount::Cause::host_lost);
  b.observe(Service::is_unprotected, clocks.after(5s));
  const auto& month = november(b);
  CHECK(month.protected_us() == us(100'700ms));
  CHECK(month.down_us() == us(460ms));
  CHECK(month.outages() == 1);
  CHECK(month.failovers() == 1);
  CHECK(month.unprotected_us() == us(5s));
}

TEST_CASE("time that nobody accounted for was an outage, unless the guest was stopped") {
  Clocks clocks;
  AvailabilityAccount before;
  const bool stopped = GENERATE(false, true);
  before.observe(stopped ? Service::is_stopped : Service::is_protected, clocks.at());
  AvailabilityAccount after{before.known()};
  after.observe(Service::is_booting, clocks.after(30min));
  after.observe(Service::is_unprotected, clocks.after(6s));
  const auto& month = november(after);
  CHECK(month.down_us() == (stopped ? 0 : us(30min + 6s)));
  CHECK(month.stopped_us() == (stopped ? us(30min + 6s) : 0));
  CHECK(month.outages() == (stopped ? 0 : 1));
}

TEST_CASE("a wall clock that is set changes no account") {
  Clocks clocks;
  AvailabilityAccount account;
  account.observe(Service::is_protected, clocks.at());
  clocks.wall += std::chrono::hours{GENERATE(-3, 3)};
  account.observe(Service::is_protected, clocks.after(1s));
  CHECK(november(account).protected_us() == us(1s));
  CHECK(november(account).down_us() == 0);
}

TEST_CASE("an outage over the end of a month counts in both") {
  AvailabilityAccount account;
  account.observe(Service::is_protected, {day(2026, 12, 1) - 10s, TimePoint{1h}});
  AvailabilityAccount later{account.known()};
  later.observe(Service::is_protected, {day(2026, 12, 1) + 20s, TimePoint{5s}});
  CHECK(november(later).down_us() == us(10s));
  const auto* december = find_month(later.known(), 202612);
  REQUIRE(december != nullptr);
  CHECK(december->down_us() == us(20s));
  CHECK(december->longest_outage_us() == us(30s));
}

TEST_CASE("a year is kept, whatever is heard") {
  control::Availability heard;
  for (std::uint32_t i = 0; i < 50; ++i) heard.add_month()->set_month(200001 + i);
  AvailabilityAccount account;
  account.take_over(heard);
  account.observe(Service::is_protected, {day(2026, 11, 21), TimePoint{1h}});
  account.observe(Service::is_protected, {day(2026, 11, 21) + 1s, TimePoint{1h + 1s}});
  CHECK(account.known().month_size() == 13);
  CHECK(november(account).protected_us() == us(1s));
}

TEST_CASE("a protected guest whose commits have stopped is down") {
  auto report = report_of(control::PROTECTED, "a");
  report.set_commit_age_us(20'000);
  CHECK(service_of(report) == Service::is_protected);
  report.set_commit_age_us(2'000'000);
  CHECK(service_of(report) == Service::is_down);
  CHECK(service_of(report_of(control::SUSPENDED, "a")) == Service::is_down);
  CHECK(service_of(report_of(control::STOPPED, "")) == Service::is_stopped);
  CHECK(service_of(report_of(control::STOPPED, "a")) == Service::is_down);
}

TEST_CASE("the book goes on with an account through restarts, takeovers and damage") {
  const TemporaryDirectory directory;
  Clocks clocks;
  {
    AvailabilityBook book{directory.path()};
    book.look(report_of(control::UNPROTECTED, "a"), "a", clocks.at());
    book.look(report_of(control::UNPROTECTED, "a"), "a", clocks.after(5s));
    book.store(clocks.steady);
  }
  {
    AvailabilityBook book{directory.path()};
    auto report = report_of(control::UNPROTECTED, "a");
    book.look(report, "a", clocks.after(2s));
    CHECK(book.of("pg").month(0).down_us() == us(2s));
    // Failed over to us 300 ms after it was last known to run.
    AvailabilityBook other{directory.path()};
    other.take_over("pg", book.of("pg"));
    const auto running = clocks.after(300ms).wall;
    report.set_active_host("b");
    report.mutable_last_failover()->set_running_unix_us(us(running.time_since_epoch()));
    other.look(report, "b", clocks.after(100ms));
    other.look(report, "b", clocks.after(100ms));
    const auto month = other.of("pg").month(0);
    CHECK(month.down_us() == us(2300ms));
    CHECK(month.unprotected_us() == us(5200ms));
    CHECK(month.failovers() == 1);
    // Back to us by a switchover: an outage as short as it was, and no failover.
    AvailabilityBook back{directory.path()};
    back.take_over("pg", other.of("pg"));
    const auto again = clocks.after(30ms).wall;
    report.mutable_last_failover()->set_running_unix_us(us(again.time_since_epoch()));
    report.mutable_last_failover()->set_planned(true);
    back.look(report, "b", clocks.after(100ms));
    back.look(report, "b", clocks.after(100ms));
    CHECK(back.of("pg").month(0).failovers() == 1);
    CHECK(back.of("pg").month(0).down_us() == us(2330ms));
  }
  std::ofstream{directory.path() / "availability"} << "rubbish";
  CHECK(AvailabilityBook{directory.path()}.of("pg").month_size() == 0);
}

TEST_CASE("a month's report: text, JSON and page") {
  control::Guest guest;
  guest.set_name("<pg>");
  guest.set_availability_objective(0.999);
  guest.mutable_availability()->set_accounted_unix_us(
      us((day(2026, 11, 21) + 3h).time_since_epoch()));
  auto& month = *guest.mutable_availability()->add_month();
  month.set_month(202611);
  month.set_protected_us(us(20 * 24h));
  month.set_down_us(us(10s));
  month.set_outages(3);
  month.set_longest_outage_us(us(6s));
  month.set_failovers(2);
  const auto sla = console::sla_of(guest, "", day(2026, 11, 21));
  REQUIRE(sla);
  CHECK(in_microseconds(sla->budget_left) == 2582s);
  const auto text = console::sla_view(*sla, console::Paint{console::Paint::Mode::plain});
  CHECK(text.find("99.9994 %") != std::string::npos);
  CHECK(text.find("10.0 s in 3 outages, the longest 6.0 s") != std::string::npos);
  CHECK(console::sla_json(*sla).find("\"error_budget_left_us\":2582000000") != std::string::npos);
  const auto page = console::sla_page(*sla);
  CHECK(page.find("<h1>&lt;pg&gt;, 2026-11</h1>") != std::string::npos);
  CHECK(page.find("<pg>") == std::string::npos);

  month.set_down_us(us(1h));
  const auto broken = console::sla_of(guest, "2026-11", day(2027, 1, 1));
  REQUIRE(broken);
  CHECK(console::sla_view(*broken, console::Paint{console::Paint::Mode::plain}).find("BROKEN") !=
        std::string::npos);
  CHECK_FALSE(console::sla_of(guest, "2026-10", day(2026, 11, 21)));
  for (const auto* rubbish : {"november", "2026-13", "2026-1", "2026-11x", "-026-11"}) {
    CHECK_FALSE(console::sla_of(guest, rubbish, day(2026, 11, 21)));
  }
}
