// The port to the cluster: who is here, are we a quorum, and messages in total order. Corosync (CPG
// and votequorum) is the adapter; the simulator of a later issue is the second.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/result.hpp"
#include "config/types.hpp"

namespace understudy::failover {

/// Identity of a Totem ring. Both halves of a split may bear the same sequence, never the same
/// pair; of two rings that share a member, the later has the greater sequence.
struct RingId {
  std::uint64_t sequence{};
  NodeId representative;
  friend auto operator<=>(const RingId&, const RingId&) = default;
};

enum class Quorum : std::uint8_t { absent, present };

/// The daemons that are members, and whether their ring has quorum: both of the SAME ring. While
/// the two are not yet known to agree there is no view.
struct View {
  RingId ring;
  Quorum quorum{Quorum::absent};
  std::vector<NodeId>
      members;  ///< hosts whose daemon is in the group, ascending, ourselves included
  /// Of `members`, ascending: those of the view before that have left and come back since, evicted
  /// and merged again in one step, or a daemon that was restarted. What they knew may be gone.
  std::vector<NodeId> returned;

  [[nodiscard]] bool has(NodeId node) const;
  friend bool operator==(const View&, const View&) = default;
};

/// "1.2f": representative and sequence in hexadecimal, as corosync's tools print it.
[[nodiscard]] std::string to_string(const RingId& ring);

/// Called on the thread that runs the membership's io_context.
class MembershipEvents {
 public:
  virtual ~MembershipEvents() = default;

  virtual void on_view(const View& view) = 0;

  /// In total order with views and other messages, our own included. Delivery here proves nothing
  /// about delivery elsewhere (Corosync implements AGREED, not SAFE).
  virtual void on_message(NodeId sender, std::span<const std::byte> message) = 0;

  /// Corosync is gone: no view, no quorum. The adapter goes on trying; on_view ends this state.
  virtual void on_lost(const Error& reason) = 0;
};

class Membership {
 public:
  virtual ~Membership() = default;

  /// Queues a message of at most limits::membership_message_bytes to all members, ourselves
  /// included. Never blocks and never calls back. Dropped when there is no view, when corosync is
  /// lost before it went out, and (with a warning in the log) when limits::membership_outgoing wait
  /// already: whoever needs it delivered waits for its delivery and repeats it.
  virtual void send(std::vector<std::byte> message) = 0;
};

}  // namespace understudy::failover
