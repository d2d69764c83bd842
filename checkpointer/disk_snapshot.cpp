#include "checkpointer/disk_snapshot.hpp"

#include <algorithm>
#include <utility>

#include "config/limits.hpp"

namespace understudy::checkpointer {

Result<std::shared_ptr<DiskSnapshot>> DiskSnapshot::create(
    const std::string& directory, const std::vector<std::uint64_t>& disk_bytes) {
  std::vector<Kept> kept;
  for (const auto bytes : disk_bytes) {
    UNDERSTUDY_TRY(auto chunks, ChunkStore::create(directory, bytes));
    kept.push_back({bytes, std::move(chunks)});
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::shared_ptr<DiskSnapshot>{new DiskSnapshot{std::move(kept)}};
}

void DiskSnapshot::attach(GuestDisks& disks) {
  const std::lock_guard lock{mutex_};
  base_ = &disks;
}

void DiskSnapshot::settled() {
  const std::lock_guard lock{mutex_};
  settled_ = true;
  changed_.notify_all();
}

void DiskSnapshot::preserve(std::size_t disk, std::uint64_t offset, std::uint32_t bytes) {
  const std::lock_guard lock{mutex_};
  if (base_ == nullptr || !broken_.empty() || bytes == 0) return;
  const auto last = (offset + bytes - 1) / limits::disk_chunk_bytes;
  for (auto chunk = offset / limits::disk_chunk_bytes; chunk <= last; ++chunk) {
    if (const auto error = keep(disk, chunk)) {
      broken_ = fmt::format("old contents of disk {} could not be kept: {}", disk, error.message());
      return;
    }
  }
}

std::error_code DiskSnapshot::keep(std::size_t disk, std::uint64_t chunk) {
  auto& chunks = kept_[disk].chunks;
  if (chunks.has(chunk)) return {};
  const auto [at, size] = chunks.place(chunk);
  std::vector<std::byte> old(size);
  if (const auto error = base_->disk(disk).image().read(at, old)) return error;
  return chunks.add(chunk, old);
}

void DiskSnapshot::detach() {
  const std::lock_guard lock{mutex_};
  if (base_ != nullptr) broken_ = "the replica is no more";
  base_ = nullptr;
  changed_.notify_all();
}

bool DiskSnapshot::wait_until_settled(Duration patience) {
  std::unique_lock lock{mutex_};
  return changed_.wait_for(lock, patience, [this] { return settled_ || !broken_.empty(); });
}

std::error_code DiskSnapshot::read(std::size_t disk, std::uint64_t offset,
                                   std::span<std::byte> out) {
  const std::lock_guard lock{mutex_};
  if (!settled_ || !broken_.empty()) return std::make_error_code(std::errc::io_error);
  return for_each_chunk(
      offset, out.size(), limits::disk_chunk_bytes,
      [&](std::uint64_t chunk, std::uint64_t at, std::size_t from, std::size_t size) {
        const auto part = out.subspan(from, size);
        const auto& chunks = kept_[disk].chunks;
        return chunks.has(chunk) ? chunks.read(at, part) : base_->disk(disk).image().read(at, part);
      });
}

std::uint64_t DiskSnapshot::next_data(std::size_t disk, std::uint64_t offset) const {
  const std::lock_guard lock{mutex_};
  if (!settled_ || !broken_.empty()) return offset;  // who reads there is told
  // What was a hole at the epoch and is none now is kept, and kept before it was changed.
  return std::min(base_->disk(disk).image().next_data(offset), kept_[disk].chunks.next(offset));
}

std::string DiskSnapshot::broken() const {
  const std::lock_guard lock{mutex_};
  return broken_;
}

}  // namespace understudy::checkpointer
