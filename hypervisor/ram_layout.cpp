#include "hypervisor/ram_layout.hpp"

#include <algorithm>
#include <set>

#include "config/limits.hpp"

namespace understudy::hypervisor {

Result<RamLayout> RamLayout::of(std::vector<RamBlock> blocks) {
  if (blocks.empty() || blocks.size() > limits::ram_blocks) {
    return fail(ErrorKind::invalid, "a machine with {} RAM blocks; 1 to {} are supported",
                blocks.size(), limits::ram_blocks);
  }
  constexpr std::uint64_t bytes_max = (std::uint64_t{limits::memory_mib_max} << 20U) * 2;
  RamLayout layout;
  std::set<std::string_view> names;
  for (const auto& block : blocks) {
    if (block.max_bytes == 0 || block.max_bytes % page_bytes != 0 || block.max_bytes > bytes_max ||
        block.used_bytes > block.max_bytes) {
      return fail(ErrorKind::invalid, "RAM block {} has an impossible size: {} of {} bytes",
                  block.name, block.used_bytes, block.max_bytes);
    }
    if (block.name.empty() || block.name.size() > 255 || !names.insert(block.name).second) {
      return fail(ErrorKind::invalid, "RAM block '{}' has no name of its own", block.name);
    }
    layout.first_.push_back(layout.pages_);
    layout.pages_ += block.max_bytes / page_bytes;
  }
  layout.blocks_ = std::move(blocks);
  return layout;
}

std::vector<std::string> differences(const RamLayout& ours, const RamLayout& theirs) {
  std::vector<std::string> found;
  const auto describe = [](const RamBlock& block) {
    return fmt::format("{} ({} KiB)", block.name, block.max_bytes >> 10U);
  };
  const auto& mine = ours.blocks();
  const auto& other = theirs.blocks();
  for (std::size_t i = 0; i < std::max(mine.size(), other.size()); ++i) {
    if (i >= mine.size()) {
      found.push_back(fmt::format("RAM block {} exists only there", describe(other[i])));
    } else if (i >= other.size()) {
      found.push_back(fmt::format("RAM block {} exists only here", describe(mine[i])));
    } else if (mine[i].name != other[i].name || mine[i].max_bytes != other[i].max_bytes) {
      found.push_back(
          fmt::format("RAM block {} here, {} there", describe(mine[i]), describe(other[i])));
    }
  }
  return found;
}

}  // namespace understudy::hypervisor
