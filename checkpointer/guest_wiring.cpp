#include "checkpointer/guest_wiring.hpp"

#include <utility>

#include "netbuffer/dpdk_uplink.hpp"
#include "netbuffer/host_interface.hpp"
#include "netbuffer/stream_port.hpp"
#include "netbuffer/tap_uplink.hpp"
#include "netbuffer/vhost_port.hpp"

namespace understudy::checkpointer {
namespace {

Result<std::unique_ptr<netbuffer::Uplink>> open_uplink(const std::string& name,
                                                       const config::Nic& nic,
                                                       const netbuffer::MacAddress& mac) {
  if (!nic.device().empty()) return netbuffer::open_dpdk_nic(nic.device());
  if (nic.uplink() == config::DPDK) return netbuffer::open_dpdk_uplink(name, nic.bridge(), mac);
  return netbuffer::open_tap(name, nic.bridge(), mac);
}

Result<std::pair<std::unique_ptr<netbuffer::GuestPort>, UniqueFd>> open_port(
    const config::Nic& nic, std::shared_ptr<hypervisor::OwnWrites>& own_writes) {
  if (nic.backend() == config::SOCKET) return netbuffer::connect_nic();
  if (!own_writes) own_writes = std::make_shared<hypervisor::OwnWrites>();
  return netbuffer::connect_vhost_nic(own_writes);
}

}  // namespace

Result<GuestWiring> wire_guest(const config::Guest& guest) {
  GuestWiring network;
  for (int i = 0; i < guest.nic_size(); ++i) {
    UNDERSTUDY_TRY(auto ends, open_port(guest.nic(i), network.wiring.own_writes));
    network.wiring.nics.push_back(std::move(ends.second));
    UNDERSTUDY_TRY(const auto mac, netbuffer::MacAddress::parse(guest.nic(i).mac()));
    const auto name = netbuffer::uplink_name(guest.name(), static_cast<std::size_t>(i));
    UNDERSTUDY_TRY(auto uplink, open_uplink(name, guest.nic(i), mac));
    network.detours.push_back(std::make_shared<netbuffer::Detour>(std::move(uplink), mac));
    network.nics.push_back(
        {std::move(ends.first), mac, netbuffer::Detour::uplink(network.detours.back())});
  }
  return network;
}

}  // namespace understudy::checkpointer
