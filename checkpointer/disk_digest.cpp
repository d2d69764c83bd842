#include "checkpointer/disk_digest.hpp"

#include "config/content_hash.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::uint64_t chunks_between_questions = 64;

Result<std::span<const std::byte>> read_chunk(GuestDisk& disk, std::uint64_t index,
                                              std::span<std::byte> room) {
  const auto [offset, bytes] = disk.chunk(index);
  const auto out = room.first(bytes);
  if (const auto error = disk.image().read(offset, out))
    return fail_errno(disk.image().path(), error.value());
  return out;
}

}  // namespace

Result<std::vector<std::string>> digest_chunks(GuestDisk& disk, std::uint64_t first,
                                               std::uint64_t count) {
  std::vector<std::string> result;
  std::vector<std::byte> room(limits::disk_chunk_bytes);
  for (std::uint64_t i = 0; i < count; ++i) {
    UNDERSTUDY_TRY(const auto bytes, read_chunk(disk, first + i, room));
    result.push_back(content_hash(bytes));
  }
  return result;
}

Result<std::vector<std::string>> digest_disks(GuestDisks& disks,
                                              const std::function<bool()>& keep_going) {
  std::vector<std::string> result;
  std::vector<std::byte> room(limits::disk_chunk_bytes);
  for (std::size_t number = 0; number < disks.size(); ++number) {
    auto& disk = disks.disk(number);
    ContentHash hash;
    for (std::uint64_t i = 0; i < disk.chunks(); ++i) {
      if (i % chunks_between_questions == 0 && !keep_going())
        return fail(ErrorKind::closed, "the comparison was ended");
      UNDERSTUDY_TRY(const auto bytes, read_chunk(disk, i, room));
      hash.add(bytes);
    }
    result.push_back(hash.digest());
  }
  return result;
}

}  // namespace understudy::checkpointer
