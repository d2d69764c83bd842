// A guest's backup may ask for it: its active host then does what its own operator's `switchover`
// would do there, and answers the group. The io_context's thread.
#pragma once

#include "failover/guest_host.hpp"
#include "failover/peer.pb.h"

namespace understudy::failover {

/// This host, the backup, asks. Nothing without a view.
void ask_for_guest(const GuestHost::Daemon& daemon, const std::string& guest);

/// This host runs `guest`, by the record.
void switch_over_for(const GuestHost::Daemon& daemon, GuestHost& guest, NodeId asker,
                     const peer::SwitchOverRequest& request);

}  // namespace understudy::failover
