// How this host reaches the others, as its configuration says.
#pragma once

#include <memory>
#include <vector>

#include "config/settings.hpp"
#include "replication/connection.hpp"

namespace understudy::failover {

/// All that this host has, the one that protection uses first: TCP always, datagrams over DPDK
/// where a device is configured. Reads the key and opens the device; errors name them and the
/// remedy.
[[nodiscard]] Result<std::vector<std::shared_ptr<replication::Transport>>> open_transports(
    const Settings& settings);

}  // namespace understudy::failover
