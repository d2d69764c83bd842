// Says what happens on this host: to its hooks, and to the other hosts for their pages; and hears
// what they say. Runs on the io_context's thread.
#pragma once

#include <string>
#include <vector>

#include "failover/guest_host.hpp"
#include "failover/hooks/hooks.hpp"
#include "failover/hooks/state_watch.hpp"
#include "failover/membership.hpp"
#include "failover/monitoring/timeline.hpp"

namespace understudy::failover {

class Reporter {
 public:
  explicit Reporter(const Settings& settings);

  /// Often: what has changed since the last look.
  void look(const control::Quorum& quorum, const std::vector<GuestHost*>& guests);
  /// Those of which this host has evidence from before.
  void know(const control::DrillList& drills);
  void finished(const control::DrillReport& drill);

  void on_view(const View& view);
  /// What to tell the others now, once in a limits::summary_period; nullopt: nothing.
  [[nodiscard]] std::optional<peer::Timeline> to_tell();
  void hear(NodeId sender, const peer::Timeline& told) { timeline_.hear(sender, told, unix_now()); }

  [[nodiscard]] control::EventList events() { return timeline_.events(unix_now()); }
  /// Adds those of other hosts.
  [[nodiscard]] control::DrillList with_elsewhere(control::DrillList drills) const;

  /// Ends hooks that are under way. Idempotent.
  void stop() { hooks_.stop(); }

 private:
  void tell(control::Event event);

  const std::string here_;
  StateWatch watch_;
  Hooks hooks_;
  Timeline timeline_;
  bool alone_{true};
};

}  // namespace understudy::failover
