#include "failover/drill_calendar.hpp"

#include <algorithm>

#include "config/limits.hpp"

namespace understudy::failover {
namespace {

UnixTime after(const Schedule& schedule, UnixTime now) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  return UnixTime{std::chrono::seconds{schedule.next(seconds)}};
}

}  // namespace

DrillCalendar::DrillCalendar(const config::Config& config) {
  for (const auto& guest : config.guest()) {
    const auto& text = guest.drill().schedule();
    if (auto schedule = Schedule::parse(text)) entries_.insert({guest.name(), {text, *schedule}});
  }
}

std::vector<std::string> DrillCalendar::due(UnixTime now) {
  std::vector<std::string> guests;
  for (auto& [name, entry] : entries_) {
    const bool too_late = now > entry.at + limits::drill_lateness;
    if (entry.at == UnixTime{} || too_late) entry.at = after(entry.schedule, now);
    if (now >= entry.at) guests.push_back(name);
  }
  return guests;
}

void DrillCalendar::taken(const std::string& guest, UnixTime now) {
  auto& entry = entries_.at(guest);
  entry.at = after(entry.schedule, now);
}

std::vector<control::ScheduledDrill> DrillCalendar::next() const {
  std::vector<control::ScheduledDrill> all;
  for (const auto& [name, entry] : entries_) {
    if (entry.at == UnixTime{}) continue;
    control::ScheduledDrill one;
    one.set_guest(name);
    one.set_at_unix_us(static_cast<std::uint64_t>(entry.at.time_since_epoch().count()));
    one.set_schedule(entry.text);
    all.push_back(std::move(one));
  }
  std::ranges::stable_sort(all, {}, &control::ScheduledDrill::at_unix_us);
  return all;
}

}  // namespace understudy::failover
