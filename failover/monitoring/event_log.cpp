#include "failover/monitoring/event_log.hpp"

#include <utility>

#include "config/limits.hpp"

namespace understudy::failover {

void EventLog::add(control::Event event) {
  events_.push_front(std::move(event));
  if (events_.size() > limits::events_kept) events_.pop_back();
}

control::EventList EventLog::list(UnixTime at) {
  const auto oldest = (at - microseconds{limits::events_age}).time_since_epoch().count();
  while (!events_.empty() && std::cmp_less(events_.back().at_unix_us(), oldest)) events_.pop_back();
  control::EventList list;
  for (const auto& event : events_) *list.add_event() = event;
  return list;
}

}  // namespace understudy::failover
