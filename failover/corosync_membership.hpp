// The cluster through Corosync: CPG for the group and its totally ordered messages, the quorum
// service for quorum and ring. cpg_overview(3), quorum_overview(3).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "failover/membership.hpp"

namespace understudy::failover {

class CorosyncMembership : public Membership {
 public:
  /// Connects to the local corosync now and, whenever it is lost, again every
  /// limits::corosync_retry. `group` is the CPG group's name. All calls to `events` come from the
  /// io_context's thread and end with this object's life.
  [[nodiscard]] static std::unique_ptr<CorosyncMembership> start(boost::asio::io_context& io,
                                                                 const std::string& group,
                                                                 MembershipEvents& events);

  /// Leaves the group (the others see it go at once) and disconnects. Idempotent.
  virtual void stop() = 0;
};

/// Joins the two views that Corosync gives, of group and of quorum, into one: pure, so that every
/// order of callbacks can be tried. A view comes out only when both speak of the same ring.
class ViewAssembler {
 public:
  /// CPG's confchg callback. `ring_changes`: some member joined or left with its node, so a totem
  /// callback with the new ring follows; otherwise a process came or went within the same ring.
  enum class Cause : std::uint8_t { process, node };
  [[nodiscard]] std::optional<View> group_changed(std::vector<NodeId> members, Cause cause);
  [[nodiscard]] std::optional<View> group_ring(RingId ring);
  [[nodiscard]] std::optional<View> quorum_changed(RingId ring, Quorum quorum);
  void reset();

 private:
  [[nodiscard]] std::optional<View> emit();

  std::vector<NodeId> members_;
  std::optional<RingId> group_ring_;
  std::optional<RingId> quorum_ring_;
  Quorum quorum_{Quorum::absent};
  std::optional<View> last_;
};

}  // namespace understudy::failover
