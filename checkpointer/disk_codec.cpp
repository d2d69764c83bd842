#include "checkpointer/disk_codec.hpp"

#include <algorithm>
#include <optional>

#include "config/assert.hpp"
#include "replication/little_endian.hpp"

namespace understudy::checkpointer {
namespace {

using replication::get;
using replication::put;

constexpr std::size_t offset_at = 0;
constexpr std::size_t bytes_at = 8;
constexpr std::size_t disk_at = 12;
constexpr std::size_t what_at = 14;

/// Takes the first record off; nullopt when it is truncated or of an unknown kind.
std::optional<DiskRecord> take(std::span<const std::byte>& rest) {
  if (rest.size() < disk_record_head_bytes) return std::nullopt;
  DiskRecord record{get<std::uint16_t>(rest, disk_at),
                    static_cast<DiskContents>(get<std::uint16_t>(rest, what_at)),
                    get<std::uint64_t>(rest, offset_at),
                    get<std::uint32_t>(rest, bytes_at),
                    {}};
  rest = rest.subspan(disk_record_head_bytes);
  if (record.what == DiskContents::zeros) return record;
  if (record.what != DiskContents::data || record.bytes > rest.size()) return std::nullopt;
  record.data = rest.first(record.bytes);
  rest = rest.subspan(record.bytes);
  return record;
}

}  // namespace

DiskContents contents_of(std::span<const std::byte> data) {
  const bool zeros = std::ranges::all_of(data, [](std::byte byte) { return byte == std::byte{}; });
  return zeros ? DiskContents::zeros : DiskContents::data;
}

std::size_t encode_disk_record(DiskRecord& record, std::span<std::byte> room) {
  UNDERSTUDY_ASSERT(room.size() > disk_record_head_bytes, "room for some of a record");
  const auto taken = record.what == DiskContents::zeros
                         ? record.bytes
                         : static_cast<std::uint32_t>(std::min<std::size_t>(
                               record.bytes, room.size() - disk_record_head_bytes));
  put(room, offset_at, record.offset);
  put(room, bytes_at, taken);
  put(room, disk_at, record.disk);
  put(room, what_at, static_cast<std::uint16_t>(record.what));
  record.offset += taken;
  record.bytes -= taken;
  if (record.what == DiskContents::zeros) return disk_record_head_bytes;
  std::ranges::copy(record.data.first(taken), room.begin() + disk_record_head_bytes);
  record.data = record.data.subspan(taken);
  return disk_record_head_bytes + taken;
}

Result<> check_disk_records(std::span<const std::byte> payload,
                            std::span<const std::uint64_t> disk_bytes) {
  while (!payload.empty()) {
    const auto record = take(payload);
    if (!record) return fail(ErrorKind::protocol, "a disk record that is truncated or unknown");
    if (record->disk >= disk_bytes.size())
      return fail(ErrorKind::protocol, "a record of disk {}, but there are {}", record->disk,
                  disk_bytes.size());
    const auto size = disk_bytes[record->disk];
    if (record->bytes == 0 || record->offset > size || record->bytes > size - record->offset)
      return fail(ErrorKind::protocol, "{} bytes at {} of disk {}, which has {}", record->bytes,
                  record->offset, record->disk, size);
  }
  return {};
}

Result<> for_each_disk_record(std::span<const std::byte> payload,
                              const std::function<Result<>(const DiskRecord&)>& visit) {
  while (!payload.empty()) {
    const auto record = take(payload);
    UNDERSTUDY_ASSERT(record.has_value(), "the payload was checked");
    UNDERSTUDY_CHECK(visit(*record));
  }
  return {};
}

}  // namespace understudy::checkpointer
