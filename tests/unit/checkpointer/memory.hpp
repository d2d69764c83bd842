// Memory for tests: layouts and seeded contents.
#pragma once

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

#include "config/types.hpp"
#include "hypervisor/ram_layout.hpp"

namespace understudy::checkpointer {

using Random = std::mt19937_64;

/// Three blocks: the main one, one that may grow, a small one.
inline hypervisor::RamLayout layout_of_pages(std::uint64_t main_pages) {
  return *hypervisor::RamLayout::of({{"pc.ram", main_pages * page_bytes, main_pages * page_bytes},
                                     {"acpi.tables", page_bytes, 4 * page_bytes},
                                     {"pc.bios", 2 * page_bytes, 2 * page_bytes}});
}

inline hypervisor::RamLayout small_layout() {
  return layout_of_pages(8);
}

inline std::vector<std::byte> random_bytes(std::uint64_t seed, std::size_t size) {
  Random random{seed};
  std::vector<std::byte> bytes(size);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

/// Below `bound`.
inline std::size_t pick(Random& random, std::size_t bound) {
  return static_cast<std::size_t>(random() % bound);
}

/// Changes a page in one of the ways in which guests do: a byte, some lines, the whole, to zeros.
inline void scribble(Random& random, std::span<std::byte> page) {
  switch (pick(random, 5)) {
    case 0: std::fill(page.begin(), page.end(), std::byte{}); break;
    case 1:
      std::generate(page.begin(), page.end(), [&] { return static_cast<std::byte>(random()); });
      break;
    case 2: page[pick(random, page.size())] ^= std::byte{0x5a}; break;
    default:
      for (auto count = 1 + pick(random, 64); count > 0; --count)
        page[pick(random, page.size())] = static_cast<std::byte>(random());
  }
}

}  // namespace understudy::checkpointer
