// A disk in chunks of limits::disk_chunk_bytes, which are compared as a whole. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "config/limits.hpp"

namespace understudy::checkpointer {

/// first, first + 1, ...
[[nodiscard]] inline std::vector<std::uint64_t> chunk_range(std::uint64_t first,
                                                            std::uint64_t count) {
  std::vector<std::uint64_t> chunks(count);
  std::iota(chunks.begin(), chunks.end(), first);
  return chunks;
}

/// Calls `visit(i)` for each of `chunks`, which ascend, that shares a byte with the range.
template <class Visit>
void for_each_shared(std::span<const std::uint64_t> chunks, std::uint64_t offset,
                     std::uint64_t bytes, const Visit& visit) {
  if (bytes == 0) return;
  const auto first = offset / limits::disk_chunk_bytes;
  const auto last = (offset + bytes - 1) / limits::disk_chunk_bytes;
  auto next = std::ranges::lower_bound(chunks, first);
  for (; next != chunks.end() && *next <= last; ++next)
    visit(static_cast<std::size_t>(next - chunks.begin()));
}

}  // namespace understudy::checkpointer
