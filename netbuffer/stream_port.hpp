// A guest's NIC behind QEMU's `-netdev stream`: any model. QEMU reads and writes the guest's
// memory.
#pragma once

#include <memory>
#include <utility>

#include "config/result.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/guest_port.hpp"

namespace understudy::netbuffer {

/// Both ends of a NIC's stream: (ours, QEMU's). QEMU's is close-on-exec like ours; who starts QEMU
/// passes it on.
[[nodiscard]] Result<std::pair<std::unique_ptr<GuestPort>, UniqueFd>> connect_nic();

}  // namespace understudy::netbuffer
