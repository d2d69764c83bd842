// The cluster through Corosync: CPG for the group and its totally ordered messages, the quorum
// service for quorum and ring.
//
// A worker thread waits for both connections at once, the group's served first; it alone calls into
// Corosync, and hands what it hears to the io_context. It inherits the scheduling of the thread
// that calls start(): a process that wants SCHED_RR (facts: without it the daemon's thread, not
// Corosync, is what is late on a busy host) sets it before.
#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "failover/membership.hpp"

namespace understudy::failover {

class CorosyncMembership : public Membership {
 public:
  /// Connects to the local corosync now and, whenever it is lost, again every
  /// limits::corosync_retry. on_lost is called once per loss, also when corosync is not there at
  /// first; the next on_view ends it. `group` is the CPG group's name. All calls to `events` come
  /// from the io_context's thread and end with stop() or this object's life, both on that thread.
  [[nodiscard]] static std::unique_ptr<CorosyncMembership> start(boost::asio::io_context& io,
                                                                 const std::string& group,
                                                                 MembershipEvents& events);

  /// Sends what waits, leaves the group (the others see it go at once), disconnects, waits for the
  /// thread. Idempotent; may be called from inside an event.
  virtual void stop() = 0;
};

}  // namespace understudy::failover
