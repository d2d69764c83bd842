// What tells bridges and switches where a guest lives now. Pure.
//
// A RARP request (RFC 903) from the guest's MAC to everybody, as QEMU sends it after a migration:
// switches learn the port from its source address. The guest keeps its MAC, so the ARP caches of
// its peers stay right and its IP addresses need not be known.
#pragma once

#include <array>
#include <cstddef>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "netbuffer/mac_address.hpp"

namespace understudy::netbuffer {

/// The shortest Ethernet frame, without the checksum that the wire adds.
using Announcement = std::array<std::byte, 60>;

[[nodiscard]] Announcement announcement(const MacAddress& mac);

/// When they are sent, from the first: one may be lost while a switch comes to itself.
inline constexpr std::array<milliseconds, limits::announcements> announcement_times{
    milliseconds{0}, milliseconds{50}, milliseconds{200}, milliseconds{450}, milliseconds{800}};

}  // namespace understudy::netbuffer
