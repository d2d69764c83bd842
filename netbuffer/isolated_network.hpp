// A network namespace for one thread and its children: the bridges that it is given, and no way to
// any other network. It is held by that thread and by what it has opened there, and by no name: it
// goes with them, however they end. network_namespaces(7).
#pragma once

#include <cstdint>
#include <string>

#include "config/result.hpp"

namespace understudy::netbuffer {

/// An IPv4 address and the network that it is in.
struct NetworkAddress {
  std::uint32_t address;  ///< host byte order
  unsigned prefix;        ///< 8 to 30 bits

  [[nodiscard]] std::string text() const;
};

/// Of "10.0.0.5/24"; `invalid` says what is wrong. Not the network's own or its broadcast address.
[[nodiscard]] Result<NetworkAddress> parse_network_address(const std::string& text);

/// The highest other address of the network.
[[nodiscard]] NetworkAddress neighbour_of(const NetworkAddress& one);

/// Moves the calling thread for the rest of its life, with the loopback interface up. Needs
/// CAP_SYS_ADMIN.
[[nodiscard]] Result<> enter_isolated_network();

/// A bridge in the calling thread's namespace, up.
[[nodiscard]] Result<> add_bridge(const std::string& name);
[[nodiscard]] Result<> add_address(const std::string& interface, const NetworkAddress& address);

}  // namespace understudy::netbuffer
