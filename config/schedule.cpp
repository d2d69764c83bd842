#include "config/schedule.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy {
namespace {

constexpr std::array<std::string_view, 7> weekday_names{"Sun", "Mon", "Tue", "Wed",
                                                        "Thu", "Fri", "Sat"};
constexpr std::array<int, 13> longest_month{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
/// The 29th of February may be 8 years away (2096 to 2104), on a given weekday 40.
constexpr int days_searched = 41 * 366;

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text = text.substr(end + 1);
  }
}

std::optional<int> number(std::string_view text) {
  int value{};
  const auto* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (text.empty() || text.front() == '-' || parsed.ec != std::errc{} || parsed.ptr != end)
    return std::nullopt;
  return value;
}

std::optional<int> weekday(std::string_view text) {
  const auto* found = std::find(weekday_names.begin(), weekday_names.end(), text);
  if (found == weekday_names.end()) return std::nullopt;
  return static_cast<int>(found - weekday_names.begin());
}

/// One of a list: a value, a range, all, or every nth from one on.
template <std::size_t N, class Read>
bool add(std::bitset<N>& set, std::string_view text, int lowest, Read read) {
  constexpr int end = static_cast<int>(N);
  std::optional<int> step = 1;
  const auto slash = text.find('/');
  if (slash != std::string_view::npos) step = number(text.substr(slash + 1));
  text = text.substr(0, slash);
  std::optional<int> first = lowest;
  std::optional<int> last = end - 1;
  if (text != "*") {
    const auto dots = text.find("..");
    first = read(text.substr(0, dots));
    if (dots != std::string_view::npos) {
      last = read(text.substr(dots + 2));
    } else if (slash == std::string_view::npos) {
      last = first;
    }
  }
  if (!step || *step < 1 || !first || !last || *first < lowest || *last >= end) return false;
  if (*first > *last && N != weekday_names.size()) return false;
  // Weekdays go round: Fri..Mon.
  const int count = (*last - *first + end) % end;
  for (int i = 0; i <= count; i += *step) set.set(static_cast<std::size_t>((*first + i) % end));
  return true;
}

template <std::size_t N, class Read>
bool add_list(std::bitset<N>& set, std::string_view text, int lowest, Read read) {
  const auto parts = split(text, ',');
  return std::all_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return add(set, part, lowest, read); });
}

/// When the wall clock shows this: the first time, or after the hour that was skipped.
std::time_t moment(std::tm wall) {
  auto summer = wall;
  summer.tm_isdst = 1;
  const auto first = std::mktime(&summer);
  if (summer.tm_isdst == 1 && summer.tm_hour == wall.tm_hour && summer.tm_min == wall.tm_min)
    return first;
  wall.tm_isdst = 0;
  return std::mktime(&wall);
}

}  // namespace

Result<Schedule> Schedule::parse(std::string_view text) {
  const auto refuse = [&] {
    return fail(ErrorKind::invalid,
                "'{}' is no calendar expression; write it like \"Sun 03:00\", \"Mon..Fri 02:30\", "
                "\"*-*-01 04:00\"",
                text.substr(0, limits::schedule_bytes));
  };
  if (text.size() > limits::schedule_bytes) return refuse();
  auto words = split(text, ' ');
  std::erase(words, "");
  if (words.empty() || words.size() > 3) return refuse();
  Schedule schedule;
  const auto time = split(words.back(), ':');
  if (time.size() != 2 || !add_list(schedule.hours_, time[0], 0, number) ||
      !add_list(schedule.minutes_, time[1], 0, number))
    return refuse();
  words.pop_back();
  schedule.months_.set();
  schedule.days_.set();
  schedule.weekdays_.set();
  if (!words.empty() && words.back().starts_with("*-")) {
    schedule.months_.reset();
    schedule.days_.reset();
    const auto date = split(words.back(), '-');
    if (date.size() != 3 || !add_list(schedule.months_, date[1], 1, number) ||
        !add_list(schedule.days_, date[2], 1, number))
      return refuse();
    words.pop_back();
  }
  if (!words.empty()) {
    schedule.weekdays_.reset();
    if (!add_list(schedule.weekdays_, words.back(), 0, weekday)) return refuse();
    words.pop_back();
  }
  if (!words.empty() || !schedule.possible()) return refuse();
  return schedule;
}

bool Schedule::possible() const {
  for (std::size_t month = 1; month < months_.size(); ++month) {
    for (int day = 1; months_[month] && day <= longest_month[month]; ++day) {
      if (days_[static_cast<std::size_t>(day)]) return true;
    }
  }
  return false;
}

bool Schedule::has_day(const std::tm& day) const {
  return weekdays_[static_cast<std::size_t>(day.tm_wday)] &&
         months_[static_cast<std::size_t>(day.tm_mon) + 1] &&
         days_[static_cast<std::size_t>(day.tm_mday)];
}

std::optional<std::time_t> Schedule::on(const std::tm& day, std::time_t after) const {
  std::optional<std::time_t> first;
  for (std::size_t hour = 0; hour < hours_.size(); ++hour) {
    for (std::size_t minute = 0; hours_[hour] && minute < minutes_.size(); ++minute) {
      if (!minutes_[minute]) continue;
      auto wall = day;
      wall.tm_hour = static_cast<int>(hour);
      wall.tm_min = static_cast<int>(minute);
      const auto at = moment(wall);
      // What was skipped may come after what was not.
      if (at > after && (!first || at < *first)) first = at;
    }
  }
  return first;
}

std::time_t Schedule::next(std::time_t after) const {
  std::tm today{};
  ::localtime_r(&after, &today);
  for (int ahead = 0; ahead < days_searched; ++ahead) {
    std::tm day{};
    day.tm_year = today.tm_year;
    day.tm_mon = today.tm_mon;
    day.tm_mday = today.tm_mday + ahead;
    day.tm_hour = 12;
    day.tm_isdst = -1;
    std::mktime(&day);
    day.tm_sec = 0;
    if (!has_day(day)) continue;
    if (const auto found = on(day, after)) return *found;
  }
  UNDERSTUDY_ASSERT(false, "a possible day comes within 41 years");
  return 0;
}

}  // namespace understudy
