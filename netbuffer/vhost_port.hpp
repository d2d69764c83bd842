// A guest's virtio NIC behind vhost-user: DPDK's vhost library takes frames out of the guest's
// memory and puts them there, without QEMU in between. Sources: the DPDK 22.11 Programmer's Guide
// (Vhost Library), docs/interop/vhost-user.rst of QEMU 7.2, virtio 1.1 section 2.6.
//
//     guest's rings and buffers <--- librte_vhost, on the thread that calls `read` and `give`
//     QEMU --- vhost-user -------> the library's own thread: where the rings are, run, stop
//
// Epochs. QEMU stops the device (GET_VRING_BASE) before its `stop` returns, and starts it again in
// `cont`. What the guest had sent by then is taken at that moment, so that the seal which follows
// finds it; from then on this class does not touch the guest's memory. Frames for the guest wait at
// the uplink meanwhile. What the guest had not been told, and we not by it, is asked anew at each
// start: a kick may have been lost with the host where the guest ran before.
//
// Dirty tracking. What the library writes passes QEMU's page tables by: `OwnMappings` hears of
// every mapping that it makes, before it writes there, and before it unmaps it.
//
// Offloads are not offered, so frames are plain Ethernet as on a stream. Nothing is polled: the
// guest's kicks are descriptors. A guest that puts rubbish into its rings loses its own packets;
// the library checks every address against the memory that QEMU has shared.
#pragma once

#include <memory>
#include <utility>

#include "config/own_mappings.hpp"
#include "config/result.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/guest_port.hpp"

namespace understudy::netbuffer {

/// (ours, QEMU's): QEMU's is an O_PATH descriptor of the socket, which has no name any more;
/// whoever has it can connect through /proc/self/fd. Starts DPDK. Errors say what to give it.
[[nodiscard]] Result<std::pair<std::unique_ptr<GuestPort>, UniqueFd>> connect_vhost_nic(
    std::shared_ptr<OwnMappings> mappings);

}  // namespace understudy::netbuffer
