#include "failover/view_assembler.hpp"

#include <algorithm>

namespace understudy::failover {

std::optional<View> ViewAssembler::group_changed(const GroupChange& change) {
  const std::set<GroupMember> after{change.members.begin(), change.members.end()};
  for (const auto& member : change.left) departed_.insert(member.node);
  // Who is missing without having been reported has left all the same.
  for (const auto& member : members_) {
    if (!after.contains(member)) departed_.insert(member.node);
  }
  members_ = after;
  if (change.cause == GroupChange::Cause::node) group_ring_.reset();
  return emit();
}

std::optional<View> ViewAssembler::group_ring(RingId ring) {
  group_ring_ = ring;
  return emit();
}

std::optional<View> ViewAssembler::quorum_changed(RingId ring, Quorum quorum) {
  quorum_ring_ = ring;
  quorum_ = quorum;
  return emit();
}

bool ViewAssembler::group_ahead() const {
  if (!group_ring_) return false;
  // Rings that we were in one after the other share a member, us: the later is the greater.
  return !quorum_ring_ || quorum_ring_->sequence < group_ring_->sequence;
}

void ViewAssembler::reset() {
  *this = {};
}

std::optional<View> ViewAssembler::emit() {
  if (members_.empty() || !group_ring_ || group_ring_ != quorum_ring_) return std::nullopt;
  View view{*group_ring_, quorum_, present(), {}};
  view.returned = returned(view.members);
  departed_.clear();
  const bool same = last_ && view.returned.empty() && last_->ring == view.ring &&
                    last_->quorum == view.quorum && last_->members == view.members;
  if (same) return std::nullopt;
  last_ = view;
  return view;
}

std::vector<NodeId> ViewAssembler::present() const {
  std::vector<NodeId> nodes;
  for (const auto& member : members_) {
    if (nodes.empty() || nodes.back() != member.node) nodes.push_back(member.node);
  }
  return nodes;
}

std::vector<NodeId> ViewAssembler::returned(const std::vector<NodeId>& members) const {
  std::vector<NodeId> nodes;
  if (!last_) return nodes;
  std::copy_if(members.begin(), members.end(), std::back_inserter(nodes),
               [&](NodeId node) { return departed_.contains(node) && last_->has(node); });
  return nodes;
}

}  // namespace understudy::failover
