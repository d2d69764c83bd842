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
    for (const bool real : {false, true}) {
      const auto& text = real ? guest.drill().real_schedule() : guest.drill().schedule();
      if (auto schedule = Schedule::parse(text))
        entries_.insert({{guest.name(), real}, {text, *schedule}});
    }
  }
}

std::vector<DrillCalendar::Drill> DrillCalendar::due(UnixTime now) {
  std::vector<Drill> all;
  // A clock that was far ahead and is set right; a little back is the same moment once more.
  if (now + limits::drill_lateness < looked_) {
    for (auto& [drill, entry] : entries_) entry.at = {};
  }
  looked_ = now;
  for (auto& [drill, entry] : entries_) {
    const bool too_late = now > entry.at + limits::drill_lateness;
    if (entry.at == UnixTime{} || too_late) entry.at = after(entry.schedule, now);
    if (now >= entry.at) all.push_back(drill);
  }
  return all;
}

void DrillCalendar::taken(const Drill& drill, UnixTime now) {
  auto& entry = entries_.at(drill);
  entry.at = after(entry.schedule, now);
}

std::vector<control::ScheduledDrill> DrillCalendar::next() const {
  std::vector<control::ScheduledDrill> all;
  for (const auto& [drill, entry] : entries_) {
    if (entry.at == UnixTime{}) continue;
    control::ScheduledDrill one;
    one.set_guest(drill.guest);
    one.set_real(drill.real);
    one.set_at_unix_us(unix_us(entry.at));
    one.set_schedule(entry.text);
    all.push_back(std::move(one));
  }
  std::ranges::stable_sort(all, {}, &control::ScheduledDrill::at_unix_us);
  return all;
}

}  // namespace understudy::failover
