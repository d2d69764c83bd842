// The RAM of a machine as one row of pages: every block that the hypervisor migrates (main RAM,
// firmware, video memory, ACPI tables, option ROMs), one after another. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/result.hpp"
#include "config/types.hpp"

namespace understudy::hypervisor {

struct RamBlock {
  std::string
      name;  ///< the hypervisor's own, equal on both hosts ("pc.ram", "0000:00:02.0/vga.vram")
  std::uint64_t used_bytes;  ///< what the guest sees now; ACPI tables may grow up to max_bytes
  std::uint64_t max_bytes;   ///< what is reserved, tracked and replicated
  friend bool operator==(const RamBlock&, const RamBlock&) = default;
};

class RamLayout {
 public:
  RamLayout() = default;
  /// Main RAM must come first. Refuses sizes that are not whole pages, duplicate names, no blocks,
  /// more than limits::ram_blocks.
  [[nodiscard]] static Result<RamLayout> of(std::vector<RamBlock> blocks);

  [[nodiscard]] const std::vector<RamBlock>& blocks() const { return blocks_; }
  [[nodiscard]] std::uint64_t pages() const { return pages_; }
  [[nodiscard]] std::uint64_t bytes() const { return pages_ * page_bytes; }
  [[nodiscard]] PageIndex first_page(std::size_t block) const { return PageIndex{first_[block]}; }

 private:
  std::vector<RamBlock> blocks_;
  std::vector<std::uint64_t> first_;
  std::uint64_t pages_{};
};

/// What keeps a replica of `theirs` from being resumed on `ours`, one sentence per difference;
/// empty when they agree. Used bytes may differ: they are part of each epoch.
[[nodiscard]] std::vector<std::string> differences(const RamLayout& ours, const RamLayout& theirs);

}  // namespace understudy::hypervisor
