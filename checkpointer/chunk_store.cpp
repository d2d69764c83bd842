#include "checkpointer/chunk_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "config/file_space.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

std::error_code last_error() {
  return {errno, std::generic_category()};
}

std::error_code write_at(int file, std::uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    const auto done = ::pwrite(file, data.data(), data.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return last_error();
    offset += static_cast<std::uint64_t>(done);
    data = data.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

}  // namespace

Result<ChunkStore> ChunkStore::create(const std::string& directory, std::uint64_t device_bytes) {
  UniqueFd file{::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  if (!file) return fail_errno(fmt::format("a temporary file in {}", directory));
  if (::ftruncate(file.get(), static_cast<off_t>(device_bytes)) != 0)
    return fail_errno(fmt::format("a temporary file of {} MiB", device_bytes >> 20U));
  return ChunkStore{std::move(file), device_bytes};
}

ChunkStore::ChunkStore(UniqueFd file, std::uint64_t device_bytes)
    : file_{std::move(file)},
      device_bytes_{device_bytes},
      there_((device_bytes + limits::disk_chunk_bytes - 1) / limits::disk_chunk_bytes) {}

std::pair<std::uint64_t, std::size_t> ChunkStore::place(std::uint64_t chunk) const {
  const auto offset = chunk * limits::disk_chunk_bytes;
  return {offset, static_cast<std::size_t>(
                      std::min<std::uint64_t>(limits::disk_chunk_bytes, device_bytes_ - offset))};
}

std::uint64_t ChunkStore::next(std::uint64_t offset) const {
  const auto first = offset / limits::disk_chunk_bytes;
  const auto from = there_.begin() + static_cast<std::ptrdiff_t>(first);
  const auto found = std::find(from, there_.end(), true);
  if (found == there_.end()) return device_bytes_;
  return static_cast<std::uint64_t>(found - there_.begin()) * limits::disk_chunk_bytes;
}

std::error_code ChunkStore::add(std::uint64_t chunk, std::span<const std::byte> contents) {
  const auto room = free_bytes(file_.get());
  if (!room) return last_error();
  if (*room < limits::clone_disk_reserve)
    return std::make_error_code(std::errc::no_space_on_device);
  if (const auto error = write_at(file_.get(), place(chunk).first, contents)) return error;
  there_[chunk] = true;
  return {};
}

std::error_code ChunkStore::read(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const auto got = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return last_error();
    if (got == 0) return std::make_error_code(std::errc::io_error);
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

std::error_code ChunkStore::write(std::uint64_t offset, std::span<const std::byte> data) {
  return write_at(file_.get(), offset, data);
}

}  // namespace understudy::checkpointer
