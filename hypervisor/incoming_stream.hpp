// The migration stream that turns a waiting QEMU into the guest. Pure.
//
// xen-save-devices-state writes a stream without RAM and without the configuration section. Put in
// front of its sections: the configuration (the machine's name, which QEMU compares) and a "ram"
// section with every block but the main one, whose memory the standby shares with the replica
// image. So the blocks are found by name on the other side, whatever their addresses there. Source:
// docs/devel/migration.rst, migration/savevm.c and migration/ram.c of QEMU 7.2.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "config/result.hpp"

namespace understudy::hypervisor {

struct BlockContents {
  std::string name;
  std::span<const std::byte> bytes;  ///< the used part, whole pages
};

/// What precedes the device sections of `devices`. Pages of zeros travel as nine bytes. Refuses a
/// state that does not begin like a QEMU stream.
[[nodiscard]] Result<std::vector<std::byte>> incoming_head(
    std::span<const std::byte> devices, const std::string& machine,
    const std::vector<BlockContents>& blocks);

/// The device sections: `devices` without its own head.
[[nodiscard]] std::span<const std::byte> incoming_tail(std::span<const std::byte> devices);

}  // namespace understudy::hypervisor
