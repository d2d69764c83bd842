// Which parts of a disk two hosts must compare: extents as they travel, and the chunks in them.
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "checkpointer/activity_codec.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {

[[nodiscard]] constexpr std::uint64_t extents_in(std::uint64_t disk_bytes) {
  return (disk_bytes + limits::activity_extent_bytes - 1) / limits::activity_extent_bytes;
}

/// One bit each from `first` on, the lowest first; as long as it must be, but not longer than that.
[[nodiscard]] std::string bitmap_of(std::span<const Extent> marked, std::uint16_t disk,
                                    std::uint64_t first, std::size_t bytes_max);
/// Adds what a peer's bitmap says; an error: it speaks of what is not there.
[[nodiscard]] Result<> add_bitmap(std::string_view bitmap, std::uint16_t disk, std::uint64_t first,
                                  std::uint64_t disk_bytes, std::vector<Extent>& to);

struct ChunkRun {
  std::uint64_t first;
  std::uint64_t count;
  friend bool operator==(const ChunkRun&, const ChunkRun&) = default;
};
/// The chunks of a disk that lie in these extents, in any order, perhaps repeated.
[[nodiscard]] std::vector<ChunkRun> chunk_runs(std::vector<Extent> extents, std::uint16_t disk,
                                               std::uint64_t disk_chunks);

}  // namespace understudy::checkpointer
