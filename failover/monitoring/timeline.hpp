// What happened on all hosts of late, for the page of each: events, and the outcomes of drills.
// Each host tells the others what it knows, so that what a host said is still known when it is dead
// or began anew. Pure.
#pragma once

#include <optional>
#include <string>

#include "config/clock.hpp"
#include "config/settings.hpp"
#include "config/types.hpp"
#include "failover/control.pb.h"
#include "failover/monitoring/told_log.hpp"
#include "failover/peer.pb.h"

namespace understudy::failover {

/// At most limits::events_kept events, none older than limits::events_age, and limits::drills_told
/// drills. Times are those of this host's clock: what another one tells comes with its age. A
/// clock that was set back leaves nothing in the future.
class Timeline {
 public:
  explicit Timeline(const Settings& settings);

  /// Of this host.
  void add(control::Event event);
  void add(const control::DrillReport& drill);

  /// There is a host that may not know what was told before.
  void tell_again();
  /// What the others should be told now, at most limits::timeline_message_bytes; nullopt: nothing.
  [[nodiscard]] std::optional<peer::Timeline> next(UnixTime at);
  /// What is no event or drill of a host of the configuration, or was later than it was told, is
  /// left out.
  void hear(NodeId sender, const peer::Timeline& told, UnixTime at);

  /// Of all hosts, the newest first.
  [[nodiscard]] control::EventList events(UnixTime at);
  /// Those of other hosts, the newest first, without their steps and probes.
  void add_elsewhere(control::DrillList& list) const;

 private:
  void forget(UnixTime at);
  [[nodiscard]] bool plausible(const auto& item) const;

  const Settings& settings_;
  ToldLog<control::Event> events_;
  ToldLog<control::DrillReport> drills_;
};

}  // namespace understudy::failover
