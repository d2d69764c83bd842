// When the drills of this host's configuration are due. Pure but for the local time zone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/clock.hpp"
#include "config/config.pb.h"
#include "config/schedule.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

/// Every host keeps the same calendar; whoever has the replica when a drill is due runs it. What
/// was due while no daemon ran is not made up for.
class DrillCalendar {
 public:
  explicit DrillCalendar(const config::Config& config);

  /// Guests whose drill should begin now; again at each call, until `taken`, for
  /// limits::drill_lateness.
  [[nodiscard]] std::vector<std::string> due(UnixTime now);
  /// It was begun, or is another host's: the next is the one after `now`.
  void taken(const std::string& guest, UnixTime now);
  /// The soonest first. Nothing before the first `due`.
  [[nodiscard]] std::vector<control::ScheduledDrill> next() const;

 private:
  struct Entry {
    std::string text;
    Schedule schedule;
    UnixTime at{};  ///< 0: not yet known
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace understudy::failover
