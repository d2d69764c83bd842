// How an Ethernet device is named in the configuration, and the shape of the packet rings that DPDK
// needs for one that is a Linux interface. Pure; DPDK itself is behind dpdk_device.hpp.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "config/result.hpp"

namespace understudy::dpdk {

/// A Linux interface ("repl0"), by DPDK's driver for AF_PACKET sockets.
struct LinuxInterface {
  std::string name;
};

/// A NIC or a virtual function of one ("0000:3b:00.1") that was taken from Linux, see vfio-pci.
struct PciDevice {
  std::string address;
};

/// A virtual device in DPDK's own words ("net_af_xdp,iface=eth1").
struct VirtualDevice {
  std::string driver;
  std::string arguments;
};

using DeviceSpec = std::variant<LinuxInterface, PciDevice, VirtualDevice>;

[[nodiscard]] Result<DeviceSpec> parse_device(std::string_view text);

/// The Linux interface that it is, or that a virtual device of AF_PACKET or AF_XDP drives.
[[nodiscard]] std::optional<std::string> interface_of(const DeviceSpec& spec);

/// A ring of an AF_PACKET socket, there is one each way. The driver counts slots from the start of
/// the ring, so blocks must be whole slots and whole pages.
struct PacketRing {
  std::size_t slot_bytes;
  std::size_t block_bytes;
  std::size_t slots;

  /// The largest frame that is neither cut when it comes nor dropped when it is sent.
  [[nodiscard]] std::size_t frame_bytes() const;
};

/// For frames of an interface with this MTU, within about `ring_bytes`. A larger MTU than the
/// driver's largest slot gets that slot.
[[nodiscard]] PacketRing packet_ring(std::size_t mtu, std::size_t ring_bytes);

inline constexpr std::size_t ethernet_header_bytes = 14;
inline constexpr std::size_t vlan_tag_bytes = 4;

}  // namespace understudy::dpdk
