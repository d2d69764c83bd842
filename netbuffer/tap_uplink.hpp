// An uplink that is a tap interface on a bridge of the host. Needs CAP_NET_ADMIN. The interface
// lives as long as the object, so it goes with the process, however that ends. Sources: tun(4) in
// Documentation/networking/tuntap.rst, netdevice(7).
#pragma once

#include <memory>
#include <string>

#include "config/result.hpp"
#include "netbuffer/mac_address.hpp"
#include "netbuffer/uplink.hpp"

namespace understudy::netbuffer {

/// Makes the tap, puts it on the bridge and sets it up. `mac` is the guest's; the tap itself gets
/// another, which a bridge will not take for its own. Errors name the bridge, the tap or the
/// missing right.
[[nodiscard]] Result<std::unique_ptr<Uplink>> open_tap(const std::string& name,
                                                       const std::string& bridge,
                                                       const MacAddress& mac);

}  // namespace understudy::netbuffer
