// The port through which checkpointing and failover rule a guest's network: output commit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "config/clock.hpp"
#include "config/types.hpp"

namespace understudy::netbuffer {

enum class GateState : std::uint8_t {
  closed,   ///< nothing passes, in either direction
  holding,  ///< egress waits for the commit of its epoch; ingress passes
  open,     ///< both directions pass: a quorum has recorded that the guest runs without a backup
};

struct GateStatus {
  GateState state;
  std::uint64_t held_packets;
  std::uint64_t held_bytes;
  Duration oldest;    ///< how long the oldest held packet has waited
  Duration hold_p50;  ///< how long the last limits::hold_samples released ones waited
  Duration hold_p99;
  Duration hold_max;
  std::uint64_t released_packets;  ///< that left for the network since the start
  std::uint64_t egress_dropped;    ///< gate closed, or the network did not take them
  std::uint64_t ingress_packets;   ///< that were given to the guest
  std::uint64_t ingress_dropped;   ///< gate closed or the guest's NIC did not take them
  std::uint64_t ingress_cut;       ///< dropped while the held packets were near their limit
  std::uint64_t full;        ///< times the held packets reached their limit: the guest's NIC waited
  std::uint64_t hold_limit;  ///< bytes, of all NICs
};

/// All verbs are thread-safe, never block on a peer and take effect before they return: after
/// `close` no packet leaves. Starts closed.
class OutputGate {
 public:
  virtual ~OutputGate() = default;

  /// From now on egress belongs to the running epoch and waits. Call it while the guest is paused;
  /// packets it sent before are taken too.
  virtual void hold() = 0;

  /// The same for an open gate; one that was closed meanwhile stays closed.
  virtual void tighten() = 0;

  /// The barrier, called while the guest is paused: every packet it has produced so far belongs to
  /// `epoch` or an earlier one. A packet still inside the hypervisor's queues will count to the
  /// next epoch, which is later than needed and therefore safe.
  virtual void seal(Epoch epoch) = 0;

  /// The backup holds `epoch` and all before it: their packets leave, in order. Earlier epochs
  /// again is a no-op.
  virtual void release(Epoch epoch) = 0;

  /// A quorum has recorded that this guest runs without a backup: all held packets leave, in order,
  /// and later ones pass at once.
  virtual void open() = 0;

  /// Nothing passes; held packets are dropped (their epochs never happened for the outside).
  virtual void close() = 0;

  [[nodiscard]] virtual GateStatus status() const = 0;
};

}  // namespace understudy::netbuffer
