// The events of the last hour, for the page. Pure.
#pragma once

#include <deque>

#include "config/clock.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

/// At most limits::events_kept, none older than limits::events_age.
class EventLog {
 public:
  void add(control::Event event);
  /// The newest first; what is too old is forgotten.
  [[nodiscard]] control::EventList list(UnixTime at);

 private:
  std::deque<control::Event> events_;
};

}  // namespace understudy::failover
