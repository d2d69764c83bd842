// How writes to a guest's disks travel, and how they lie in the backup's journal: records, one
// after the other. Pure.
//
//   record   u64 offset, u32 bytes, u16 disk, u16 what; little-endian; then by what
//   data     so many bytes
//   zeros    nothing: the range reads as zeros
//
// Records are applied in order; offsets and sizes are bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "config/result.hpp"

namespace understudy::checkpointer {

inline constexpr std::size_t disk_record_head_bytes = 16;

enum class DiskContents : std::uint16_t { data = 1, zeros = 2 };

struct DiskRecord {
  std::uint16_t disk{};
  DiskContents what{};
  std::uint64_t offset{};
  std::uint32_t bytes{};
  std::span<const std::byte> data;  ///< `bytes` long for data, else empty
};

/// `zeros` if there is nothing else: then the data need not travel.
[[nodiscard]] DiskContents contents_of(std::span<const std::byte> data);

/// Writes the record's beginning, as much of it as fits `room` (larger than a head), and shortens
/// the record to what is left. Returns the bytes used; the record is done when it has 0 bytes left.
[[nodiscard]] std::size_t encode_disk_record(DiskRecord& record, std::span<std::byte> room);

/// What is malformed: an unknown disk or kind, a range beyond its disk or without bytes, a
/// truncated record. `disk_bytes`: the size of each disk.
[[nodiscard]] Result<> check_disk_records(std::span<const std::byte> payload,
                                          std::span<const std::uint64_t> disk_bytes);

/// Of a payload that has passed the check. Ends at the first error of `visit`.
[[nodiscard]] Result<> for_each_disk_record(
    std::span<const std::byte> payload, const std::function<Result<>(const DiskRecord&)>& visit);

}  // namespace understudy::checkpointer
