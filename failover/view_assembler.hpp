// Joins the two views that Corosync gives, of group (CPG) and of quorum, into one. Pure, so that
// every order of callbacks can be tried.
//
// On a change of ring Corosync says, each on the connection named:
//
//   group:  left members (if any), joined members (if any), ring
//   quorum:                                                        ring + quorum
//
// Each connection keeps its order; between the two there is none. A view comes out only when both
// speak of the same ring. Within a ring, a process that comes or goes is a change of the group
// alone, and an operator may change quorum alone.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "failover/membership.hpp"

namespace understudy::failover {

/// One daemon in the group: a restarted one has the same node and another process.
struct GroupMember {
  NodeId node;
  std::uint32_t process{};
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the generated comparison for ours
  friend auto operator<=>(const GroupMember&, const GroupMember&) = default;
};

struct GroupChange {
  /// `node`: somebody came or went with its node, so the new ring follows. `process`: same ring.
  enum class Cause : std::uint8_t { process, node };

  std::vector<GroupMember> members;  ///< after the change, in any order
  std::vector<GroupMember> left;
  Cause cause{Cause::process};
};

class ViewAssembler {
 public:
  [[nodiscard]] std::optional<View> group_changed(const GroupChange& change);
  [[nodiscard]] std::optional<View> group_ring(RingId ring);
  [[nodiscard]] std::optional<View> quorum_changed(RingId ring, Quorum quorum);

  /// The group is in a ring of which quorum has not spoken yet. What the group connection says next
  /// belongs behind that view: read it only when this is false again.
  [[nodiscard]] bool group_ahead() const;

  /// The connections are gone: forgets everything.
  void reset();

 private:
  [[nodiscard]] std::optional<View> emit();
  [[nodiscard]] std::vector<NodeId> present() const;
  [[nodiscard]] std::vector<NodeId> returned(const std::vector<NodeId>& members) const;

  std::set<GroupMember> members_;
  std::set<NodeId> departed_;  ///< whoever left since the last view, even if back by now
  std::optional<RingId> group_ring_;
  std::optional<RingId> quorum_ring_;
  Quorum quorum_{Quorum::absent};
  std::optional<View> last_;
};

}  // namespace understudy::failover
