// When the drills of this host's configuration are due. Pure but for the local time zone.
#pragma once

#include <compare>
#include <map>
#include <string>
#include <vector>

#include "config/clock.hpp"
#include "config/config.pb.h"
#include "config/schedule.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

/// Every host keeps the same calendar; when a drill is due, whoever has the replica runs it, of a
/// real one whoever runs the guest. What was due while no daemon ran is not made up for.
class DrillCalendar {
 public:
  struct Drill {
    std::string guest;
    bool real{};  ///< with the guest itself
    auto operator<=>(const Drill&) const = default;
  };

  explicit DrillCalendar(const config::Config& config);

  /// What should begin now; again at each call, until `taken`, for limits::drill_lateness.
  [[nodiscard]] std::vector<Drill> due(UnixTime now);
  /// It was begun, or is another host's: the next is the one after `now`.
  void taken(const Drill& drill, UnixTime now);
  /// The soonest first. Nothing before the first `due`.
  [[nodiscard]] std::vector<control::ScheduledDrill> next() const;

 private:
  struct Entry {
    std::string text;
    Schedule schedule;
    UnixTime at{};  ///< 0: not yet known
  };
  std::map<Drill, Entry> entries_;
  UnixTime looked_{};
};

}  // namespace understudy::failover
