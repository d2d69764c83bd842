#include "config/schedule.hpp"

#include <cstdlib>

#include <fmt/chrono.h>
#include <catch2/catch.hpp>

using namespace understudy;

namespace {

/// Central Europe: summer time from the last Sunday of March to the last of October.
class TimeZone {
 public:
  explicit TimeZone(const char* name) {
    if (const char* before = std::getenv("TZ")) before_ = before;
    set(name);
  }
  TimeZone(const TimeZone&) = delete;
  TimeZone& operator=(const TimeZone&) = delete;
  ~TimeZone() { before_.empty() ? (::unsetenv("TZ"), ::tzset()) : set(before_.c_str()); }

 private:
  static void set(const char* name) {
    ::setenv("TZ", name, 1);
    ::tzset();
  }
  std::string before_;
};

constexpr auto berlin = "CET-1CEST,M3.5.0,M10.5.0/3";

std::time_t utc(int year, int month, int day, int hour, int minute) {
  std::tm wall{};
  wall.tm_year = year - 1900;
  wall.tm_mon = month - 1;
  wall.tm_mday = day;
  wall.tm_hour = hour;
  wall.tm_min = minute;
  return ::timegm(&wall);
}

std::string next(const char* text, std::time_t after) {
  const auto schedule = Schedule::parse(text);
  REQUIRE(schedule);
  return fmt::format("{:%a %Y-%m-%d %H:%M:%S}", fmt::gmtime(schedule->next(after)));
}

}  // namespace

TEST_CASE("a calendar expression names the next moment") {
  const TimeZone zone{"UTC0"};
  const auto saturday = utc(2026, 11, 28, 2, 0);
  CHECK(next("03:00", saturday) == "Sat 2026-11-28 03:00:00");
  CHECK(next("02:00", saturday) == "Sun 2026-11-29 02:00:00");
  CHECK(next("Sun 03:00", saturday) == "Sun 2026-11-29 03:00:00");
  CHECK(next("Mon..Fri 02:30", saturday) == "Mon 2026-11-30 02:30:00");
  CHECK(next("Fri..Sun 01:00", saturday) == "Sun 2026-11-29 01:00:00");
  CHECK(next("Wed,Thu 04:05", saturday) == "Wed 2026-12-02 04:05:00");
  CHECK(next("*-*-01 04:00", saturday) == "Tue 2026-12-01 04:00:00");
  CHECK(next("Sun *-*-1..7 04:00", saturday) == "Sun 2026-12-06 04:00:00");
  CHECK(next("*:0/15", saturday) == "Sat 2026-11-28 02:15:00");
  CHECK(next("*:0/15", saturday + 59) == "Sat 2026-11-28 02:15:00");
  CHECK(next("0/6:30", saturday) == "Sat 2026-11-28 06:30:00");
  CHECK(next("*-02-29 00:00", utc(2096, 3, 1, 0, 0)) == "Fri 2104-02-29 00:00:00");
}

TEST_CASE("the change to summer time moves what it skips") {
  const TimeZone zone{berlin};  // 02:00 becomes 03:00 at 01:00 UTC
  const auto before = utc(2026, 3, 28, 12, 0);
  CHECK(next("02:30", before) == "Sun 2026-03-29 01:30:00");  // 03:30 there
  CHECK(next("03:00", before) == "Sun 2026-03-29 01:00:00");
  CHECK(next("02:30,45", before) == "Sun 2026-03-29 01:30:00");
  CHECK(next("02:30", utc(2026, 3, 29, 1, 30)) == "Mon 2026-03-30 00:30:00");
}

TEST_CASE("what comes twice in autumn is meant the first time") {
  const TimeZone zone{berlin};  // 03:00 becomes 02:00 at 01:00 UTC
  const auto before = utc(2026, 10, 24, 12, 0);
  CHECK(next("02:30", before) == "Sun 2026-10-25 00:30:00");
  CHECK(next("02:30", utc(2026, 10, 25, 0, 30)) == "Mon 2026-10-26 01:30:00");
  CHECK(next("03:00", before) == "Sun 2026-10-25 02:00:00");
}

TEST_CASE("rubbish is no calendar expression") {
  for (const auto* text : {"",
                           " ",
                           "03",
                           "3:0:0",
                           "24:00",
                           "00:60",
                           "-1:00",
                           "Sun",
                           "Sunday 03:00",
                           "sun 03:00",
                           "2026-01-01 03:00",
                           "*-13-01 00:00",
                           "*-*-32 00:00",
                           "*-*-0 00:00",
                           "*-02-30 00:00",
                           "*-*-01",
                           "Mon *-*-01 x 00:00",
                           "*-*-01 Mon 00:00",
                           "5..3:00",
                           "*/0:00",
                           "1,:00",
                           "..:00",
                           "Mon,,Tue 00:00",
                           "99999999999:00",
                           "a b c d"}) {
    INFO(text);
    CHECK(!Schedule::parse(text));
  }
  CHECK(!Schedule::parse(std::string(500, '1') + ":00"));
}
