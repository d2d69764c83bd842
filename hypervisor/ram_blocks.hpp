// QEMU's list of its RAM blocks, as `info ramblock` prints it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.hpp"
#include "hypervisor/ram_layout.hpp"

namespace understudy::hypervisor {

struct ListedBlock {
  RamBlock block;
  std::uint64_t
      address;  ///< in QEMU's address space; 0 where this QEMU does not print it (before 8.1)
};

/// Main RAM first, then the others by name, so that two QEMUs of one command line list them alike.
[[nodiscard]] Result<std::vector<ListedBlock>> parse_ram_blocks(std::string_view text);

}  // namespace understudy::hypervisor
