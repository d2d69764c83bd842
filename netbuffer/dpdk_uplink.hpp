// An uplink that DPDK drives: a cable to a bridge of the host, or a whole NIC for one guest.
//
//     guest's NIC -- DPDK device, in a network namespace of its own | veth | us-NAME-0 -- bridge
//
// That namespace has no addresses and nobody in it: the host's IP stack hears nothing of the
// guest's wire, and the cable goes with the process, however that ends, since nothing else holds
// it. Needs CAP_NET_ADMIN, CAP_NET_RAW and, for the namespace, CAP_SYS_ADMIN.
#pragma once

#include <memory>
#include <string>

#include "config/result.hpp"
#include "netbuffer/mac_address.hpp"
#include "netbuffer/uplink.hpp"

namespace understudy::netbuffer {

/// `name` is the bridge's port (see uplink_name), `mac` the guest's. Frames are as large as the
/// bridge's MTU has it. Errors name the bridge, the port or the missing right.
[[nodiscard]] Result<std::unique_ptr<Uplink>> open_dpdk_uplink(const std::string& name,
                                                               const std::string& bridge,
                                                               const MacAddress& mac);

/// `device` as in config/dpdk_spec.hpp; it takes the guest's frames by being promiscuous.
[[nodiscard]] Result<std::unique_ptr<Uplink>> open_dpdk_nic(const std::string& device);

}  // namespace understudy::netbuffer
