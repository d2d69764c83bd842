#include "checkpointer/disk_digest.hpp"

#include <memory>

#include <xxhash.h>

#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::uint64_t chunks_between_questions = 64;

std::string text_of(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  std::string text;
  for (const auto byte : canonical.digest) text += static_cast<char>(byte);
  return text;
}

Result<std::span<const std::byte>> read_chunk(GuestDisk& disk, std::uint64_t index,
                                              std::span<std::byte> room) {
  const auto [offset, bytes] = disk.chunk(index);
  const auto out = room.first(bytes);
  if (const auto error = disk.image().read(offset, out))
    return fail_errno(disk.image().path(), error.value());
  return out;
}

}  // namespace

std::string digest_of(std::span<const std::byte> bytes) {
  return text_of(XXH3_128bits(bytes.data(), bytes.size()));
}

Result<std::vector<std::string>> digest_chunks(GuestDisk& disk, std::uint64_t first,
                                               std::uint64_t count) {
  std::vector<std::string> result;
  std::vector<std::byte> room(limits::disk_chunk_bytes);
  for (std::uint64_t i = 0; i < count; ++i) {
    UNDERSTUDY_TRY(const auto bytes, read_chunk(disk, first + i, room));
    result.push_back(digest_of(bytes));
  }
  return result;
}

Result<std::vector<std::string>> digest_disks(GuestDisks& disks,
                                              const std::function<bool()>& keep_going) {
  std::vector<std::string> result;
  std::vector<std::byte> room(limits::disk_chunk_bytes);
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state{XXH3_createState(),
                                                                       XXH3_freeState};
  for (std::size_t number = 0; number < disks.size(); ++number) {
    auto& disk = disks.disk(number);
    XXH3_128bits_reset(state.get());
    for (std::uint64_t i = 0; i < disk.chunks(); ++i) {
      if (i % chunks_between_questions == 0 && !keep_going())
        return fail(ErrorKind::closed, "the comparison was ended");
      UNDERSTUDY_TRY(const auto bytes, read_chunk(disk, i, room));
      XXH3_128bits_update(state.get(), bytes.data(), bytes.size());
    }
    result.push_back(text_of(XXH3_128bits_digest(state.get())));
  }
  return result;
}

}  // namespace understudy::checkpointer
