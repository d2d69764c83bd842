#include "checkpointer/disk_digest.hpp"

#include "config/content_hash.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {

Result<std::vector<std::string>> digest_chunks(GuestDisk& disk,
                                               std::span<const std::uint64_t> chunks,
                                               const AmendChunk& amend) {
  std::vector<std::string> result;
  std::vector<std::byte> room(limits::disk_chunk_bytes);
  for (std::size_t which = 0; which < chunks.size(); ++which) {
    const auto [offset, bytes] = disk.chunk(chunks[which]);
    const auto contents = std::span{room}.first(bytes);
    if (const auto error = disk.image().read(offset, contents))
      return fail_errno(disk.image().path(), error.value());
    if (amend) amend(which, contents);
    result.push_back(content_hash(contents));
  }
  return result;
}

}  // namespace understudy::checkpointer
