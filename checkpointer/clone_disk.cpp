#include "checkpointer/clone_disk.hpp"

#include <algorithm>

#include "config/limits.hpp"

namespace understudy::checkpointer {

std::error_code CloneDisk::read(std::uint64_t offset, std::span<std::byte> out) {
  const std::lock_guard lock{mutex_};
  return for_each_chunk(
      offset, out.size(), limits::disk_chunk_bytes,
      [&](std::uint64_t chunk, std::uint64_t at, std::size_t from, std::size_t size) {
        const auto part = out.subspan(from, size);
        return own_.has(chunk) ? own_.read(at, part) : below_->read(disk_, at, part);
      });
}

std::uint64_t CloneDisk::next_data(std::uint64_t offset) {
  const std::lock_guard lock{mutex_};
  return std::min(below_->next_data(disk_, offset), own_.next(offset));
}

std::error_code CloneDisk::write(std::uint64_t offset, std::vector<std::byte> data) {
  const std::lock_guard lock{mutex_};
  return for_each_chunk(
      offset, data.size(), limits::disk_chunk_bytes,
      [&](std::uint64_t chunk, std::uint64_t at, std::size_t from, std::size_t size) {
        return write_in(chunk, at, std::span{data}.subspan(from, size));
      });
}

std::error_code CloneDisk::zero(std::uint64_t offset, std::uint32_t bytes, Hole /*hole*/) {
  const std::lock_guard lock{mutex_};
  const std::vector<std::byte> zeros(limits::disk_chunk_bytes);
  return for_each_chunk(
      offset, bytes, limits::disk_chunk_bytes,
      [&](std::uint64_t chunk, std::uint64_t at, std::size_t /*from*/, std::size_t size) {
        return write_in(chunk, at, std::span{zeros}.first(size));
      });
}

std::error_code CloneDisk::write_in(std::uint64_t chunk, std::uint64_t at,
                                    std::span<const std::byte> data) {
  if (own_.has(chunk)) return own_.write(at, data);
  const auto [start, size] = own_.place(chunk);
  if (data.size() == size) return own_.add(chunk, data);
  std::vector<std::byte> whole(size);
  if (const auto error = below_->read(disk_, start, whole)) return error;
  std::ranges::copy(data, whole.begin() + static_cast<std::ptrdiff_t>(at - start));
  return own_.add(chunk, whole);
}

}  // namespace understudy::checkpointer
