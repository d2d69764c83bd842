#include "checkpointer/activity_map.hpp"

#include <algorithm>

namespace understudy::checkpointer {
namespace {

constexpr std::uint64_t chunks_per_extent =
    limits::activity_extent_bytes / limits::disk_chunk_bytes;

}  // namespace

std::string bitmap_of(std::span<const Extent> marked, std::uint16_t disk, std::uint64_t first,
                      std::size_t bytes_max) {
  std::string bitmap;
  for (const auto& one : marked) {
    if (one.disk != disk || one.index < first || one.index - first >= bytes_max * 8) continue;
    const auto at = (one.index - first) / 8;
    if (at >= bitmap.size()) bitmap.resize(at + 1);
    bitmap[at] = static_cast<char>(bitmap[at] | 1 << ((one.index - first) % 8));
  }
  return bitmap;
}

Result<> add_bitmap(std::string_view bitmap, std::uint16_t disk, std::uint64_t first,
                    std::uint64_t disk_bytes, std::vector<Extent>& to) {
  for (std::uint64_t i = 0; i < bitmap.size() * 8; ++i) {
    if ((static_cast<unsigned char>(bitmap[i / 8]) >> (i % 8) & 1U) == 0) continue;
    if (first + i >= extents_in(disk_bytes))
      return fail(ErrorKind::protocol, "the backup's map goes beyond the end of disk {}", disk);
    to.push_back({disk, first + i});
  }
  return {};
}

std::vector<ChunkRun> chunk_runs(std::vector<Extent> extents, std::uint16_t disk,
                                 std::uint64_t disk_chunks) {
  std::ranges::sort(extents);
  std::vector<ChunkRun> runs;
  for (const auto& one : extents) {
    const auto first = one.index * chunks_per_extent;
    if (one.disk != disk || first >= disk_chunks) continue;
    const auto end = std::min(first + chunks_per_extent, disk_chunks);
    if (!runs.empty() && runs.back().first + runs.back().count >= first) {
      runs.back().count = end - runs.back().first;
    } else {
      runs.push_back({first, end - first});
    }
  }
  return runs;
}

}  // namespace understudy::checkpointer
