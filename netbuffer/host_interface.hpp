// What uplinks do with interfaces of the host, all of it in the calling thread's network namespace.
// Needs CAP_NET_ADMIN. Sources: netdevice(7), rtnetlink(7), the kernel's veth and ethtool headers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "config/result.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/mac_address.hpp"

namespace understudy::netbuffer {

/// A valid interface name (at most 15 characters) for NIC number `nic` of a guest: "us-" with the
/// guest's name when that fits, else with its start and a hash.
[[nodiscard]] std::string uplink_name(std::string_view guest, std::size_t nic);

/// Whether `name` can be an interface's, and `bridge` is there.
[[nodiscard]] Result<> check_uplink(const std::string& name, const std::string& bridge);

/// For the host's side of a guest's wire: not the guest's, and not one that a bridge will take for
/// its own.
[[nodiscard]] MacAddress wire_mac(MacAddress guest);

/// Puts the interface on the bridge, with this MAC, deaf to IPv6, and sets it up.
[[nodiscard]] Result<> join_bridge(const std::string& name, const std::string& bridge,
                                   const MacAddress& mac);
[[nodiscard]] Result<> set_up(const std::string& name);
/// The host must not speak IPv6 on a guest's wire; without IPv6 there is nothing to switch off.
void silence_ipv6(const std::string& name);
[[nodiscard]] Result<std::size_t> mtu_of(const std::string& name);

/// Leaves nothing to a device that never comes: what is sent into this interface has whole
/// checksums and is no larger than its MTU.
[[nodiscard]] Result<> refuse_offloads(const std::string& name);

/// A pair of interfaces with a cable between them, one here and one in another network namespace;
/// they go together, with the object or with that namespace.
class VethPair {
 public:
  [[nodiscard]] static Result<VethPair> make(const std::string& name, std::size_t mtu,
                                             const std::string& other_name, int other_namespace);
  VethPair(VethPair&& other) noexcept = default;
  VethPair& operator=(VethPair&& other) noexcept = default;
  VethPair(const VethPair&) = delete;
  VethPair& operator=(const VethPair&) = delete;
  ~VethPair();

 private:
  VethPair(UniqueFd kernel, unsigned index) : kernel_{std::move(kernel)}, index_{index} {}
  UniqueFd kernel_;  // of the namespace in which it was made
  unsigned index_;
};

}  // namespace understudy::netbuffer
