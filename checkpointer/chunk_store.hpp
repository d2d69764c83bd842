// Some chunks (limits::disk_chunk_bytes) of a device, in a temporary file without a name: it goes
// with the process, however that ends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::checkpointer {

/// One thread at a time.
class ChunkStore {
 public:
  /// In a directory whose file system has nameless files (O_TMPFILE), for a device of this size.
  [[nodiscard]] static Result<ChunkStore> create(const std::string& directory,
                                                 std::uint64_t device_bytes);

  [[nodiscard]] bool has(std::uint64_t chunk) const { return there_[chunk]; }
  [[nodiscard]] std::uint64_t chunks() const { return there_.size(); }
  /// The device's place of the first chunk that is there, of those that end after `offset`; the
  /// device's end: none.
  [[nodiscard]] std::uint64_t next(std::uint64_t offset) const;
  /// A chunk's place on the device: the last one may be shorter.
  [[nodiscard]] std::pair<std::uint64_t, std::size_t> place(std::uint64_t chunk) const;

  /// A whole chunk. Refuses with no_space_on_device before the file system is full: others live
  /// there.
  [[nodiscard]] std::error_code add(std::uint64_t chunk, std::span<const std::byte> contents);
  /// Inside one chunk that is there.
  [[nodiscard]] std::error_code read(std::uint64_t offset, std::span<std::byte> out) const;
  [[nodiscard]] std::error_code write(std::uint64_t offset, std::span<const std::byte> data);

 private:
  ChunkStore(UniqueFd file, std::uint64_t device_bytes);

  UniqueFd file_;
  std::uint64_t device_bytes_;
  std::vector<bool> there_;
};

/// The parts of a range that lie in one chunk each, in order; ends at the first error.
/// `visit(chunk, offset on the device, offset in the range, bytes)`.
template <class Visit>
[[nodiscard]] std::error_code for_each_chunk(std::uint64_t offset, std::size_t bytes,
                                             std::size_t chunk_bytes, const Visit& visit) {
  for (std::size_t done = 0; done < bytes;) {
    const auto at = offset + done;
    const auto left = chunk_bytes - static_cast<std::size_t>(at % chunk_bytes);
    const auto size = std::min(left, bytes - done);
    if (const std::error_code error = visit(at / chunk_bytes, at, done, size)) return error;
    done += size;
  }
  return {};
}

}  // namespace understudy::checkpointer
