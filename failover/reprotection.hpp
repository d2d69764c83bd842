// When, and to which host, a guest is protected again by itself. Pure; time is a parameter.
//
// A host is tried when it has been in the cluster for limits::reprotect_settle (who was the guest's
// host until a switchover: reprotect_handed_over since then) and has rested since
// its last failure: twice as long after each, longer after a refusal. Failures are forgotten once
// the guest has been protected there for limits::reprotect_stable; a host that comes and goes is
// therefore tried ever less often.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "failover/membership.hpp"

namespace understudy::failover {

class Reprotection {
 public:
  /// Hosts that can never keep a replica of a guest that runs here, and why.
  using Unfit = std::map<NodeId, std::string>;

  /// What stands between the guest and a backup on one host.
  struct Outlook {
    NodeId host;
    std::string obstacle;          ///< empty: nothing but the time
    std::optional<Duration> wait;  ///< until it is tried; none: not while the obstacle is there
  };

  explicit Reprotection(Unfit unfit = {}) : unfit_{std::move(unfit)} {}

  /// Call it whenever something may have changed, time included.
  void look(const View& view, TimePoint now);
  /// Nobody is here, or nobody is to be tried yet: all have to settle anew.
  void look_away();
  /// `host` has just handed the guest over, so it is well: it settles for reprotect_handed_over.
  /// After look().
  void handed_over_by(NodeId host, TimePoint now);

  /// The first of `hosts` that may be tried now. `self` is none.
  [[nodiscard]] std::optional<NodeId> due(const std::vector<NodeId>& hosts, NodeId self,
                                          TimePoint now) const;
  void failed(NodeId host, const Error& why, TimePoint now);
  void protected_by(NodeId host, TimePoint now);

  [[nodiscard]] std::vector<Outlook> outlook(const std::vector<NodeId>& hosts, NodeId self,
                                             TimePoint now) const;

 private:
  struct Trouble {
    int failures{};
    TimePoint rests_until;
    std::string why;
  };
  [[nodiscard]] Outlook look_at(NodeId host, TimePoint now) const;

  const Unfit unfit_;
  std::optional<View> view_;
  std::map<NodeId, TimePoint> present_;  ///< since when
  std::map<NodeId, Trouble> troubles_;
  std::map<NodeId, TimePoint> protected_since_;  ///< at most one
};

}  // namespace understudy::failover
