// One life of the connections to the local corosync: the group (CPG) and the quorum service, made
// together, dropped together. cpg_overview(3), quorum_overview(3). The only files that know
// Corosync's headers are these two.
//
// Used by one thread, which must not call into corosync (nor run its tools) between a change of the
// group and the quorum that follows: corosync would spin at real-time priority until its
// synchronisation ends. dispatch_* and send are safe at any time, the others are not.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "config/result.hpp"
#include "failover/view_assembler.hpp"

namespace understudy::failover {

/// Called from inside dispatch_*.
class CorosyncEvents {
 public:
  virtual ~CorosyncEvents() = default;
  virtual void on_group_changed(const GroupChange& change) = 0;
  virtual void on_group_ring(RingId ring) = 0;
  virtual void on_quorum(RingId ring, Quorum quorum) = 0;
  virtual void on_group_message(NodeId sender, std::span<const std::byte> message) = 0;
};

/// Whether there was something to do, or room.
enum class Attempt : std::uint8_t { done, not_now };

class CorosyncSession {
 public:
  virtual ~CorosyncSession() = default;

  /// Connects and joins the group. `unavailable`: corosync is not there, or not ready yet.
  /// `invalid`: it is there but will not do; the message says what to change.
  [[nodiscard]] static Result<std::unique_ptr<CorosyncSession>> open(const std::string& group,
                                                                     CorosyncEvents& events);

  [[nodiscard]] virtual int group_fd() const = 0;
  [[nodiscard]] virtual int quorum_fd() const = 0;

  /// At most one callback. An error of any of these ends the session.
  [[nodiscard]] virtual Result<Attempt> dispatch_group() = 0;
  [[nodiscard]] virtual Result<Attempt> dispatch_quorum() = 0;
  /// `not_now`: flow control, or the ring is changing.
  [[nodiscard]] virtual Result<Attempt> send(std::span<const std::byte> message) = 0;

  /// Tells the others. A session that just ends tells them as well, as if we had crashed.
  virtual void leave() = 0;
};

}  // namespace understudy::failover
