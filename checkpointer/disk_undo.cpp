#include "checkpointer/disk_undo.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::size_t block_bytes = page_bytes;
using Block = std::array<std::byte, block_bytes>;

}  // namespace

Result<> check_blocks_back(std::uint64_t blocks) {
  const auto bytes = blocks * (block_bytes + disk_record_head_bytes);
  if (bytes <= limits::rewind_disk_bytes) return {};
  return fail(ErrorKind::limit, "{} MiB of the disks would have to go back at once; {} may",
              bytes >> 20U, limits::rewind_disk_bytes >> 20U);
}

DiskUndo::DiskUndo(std::span<const std::uint64_t> disk_bytes)
    : sizes_{disk_bytes.begin(), disk_bytes.end()}, first_{0} {
  for (const auto bytes : sizes_)
    first_.push_back(first_.back() + (bytes + block_bytes - 1) / block_bytes);
}

DiskUndo::Place DiskUndo::place(std::uint64_t block) const {
  const auto next = std::ranges::upper_bound(first_, block);
  const auto disk = static_cast<std::size_t>(next - first_.begin()) - 1;
  const auto offset = (block - first_[disk]) * block_bytes;
  return {disk, offset,
          static_cast<std::size_t>(std::min<std::uint64_t>(block_bytes, sizes_[disk] - offset))};
}

std::error_code DiskUndo::append(const DiskRecord& record, const Read& read,
                                 UndoRecords& out) const {
  const auto end = record.offset + record.bytes;
  Block room_for_old;
  Block room_for_new;
  std::array<std::byte, record_bytes_max> room;
  for (auto at = record.offset / block_bytes * block_bytes; at < end; at += block_bytes) {
    const auto block = first_[record.disk] + at / block_bytes;
    room_for_old.fill(std::byte{});
    if (const auto error = read(at, std::span{room_for_old}.first(place(block).bytes)))
      return error;
    room_for_new = room_for_old;
    const auto from = std::max(at, record.offset);
    const auto size = static_cast<std::size_t>(std::min(at + block_bytes, end) - from);
    if (record.what == DiskContents::zeros) {
      std::memset(room_for_new.data() + (from - at), 0, size);
    } else {
      std::memcpy(room_for_new.data() + (from - at), record.data.data() + (from - record.offset),
                  size);
    }
    const auto used = encode_page(PageIndex{block}, room_for_old, room_for_new, room);
    out.insert(out.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(used));
  }
  return {};
}

std::error_code DiskUndo::apply(std::span<const std::byte> records,
                                std::span<BlockDevice* const> disks) const {
  std::error_code failed;
  Block contents;
  std::vector<std::byte> one;
  for_each_page_record(records, [&](const PageRecord& record) {
    if (failed) return;
    const auto where = place(record.page);
    const auto used = std::span{contents}.first(where.bytes);
    if (failed = disks[where.disk]->read(where.offset, used); failed) return;
    set_lines(record, contents.data());
    failed = disks[where.disk]->write(where.offset, {used.begin(), used.end()});
  });
  return failed;
}

std::error_code DiskUndo::to_disk_records(std::span<const std::byte> records, const ReadDisk& read,
                                          std::vector<std::byte>& out) const {
  std::error_code failed;
  Block contents;
  std::array<std::byte, disk_record_head_bytes + block_bytes + 1> room;
  for_each_page_record(records, [&](const PageRecord& record) {
    if (failed) return;
    const auto where = place(record.page);
    const auto used = std::span{contents}.first(where.bytes);
    if (failed = read(where.disk, where.offset, used); failed) return;
    set_lines(record, contents.data());
    const auto what = contents_of(used);
    DiskRecord write{static_cast<std::uint16_t>(where.disk),
                     what,
                     where.offset,
                     static_cast<std::uint32_t>(used.size()),
                     {}};
    if (what == DiskContents::data) write.data = used;
    const auto bytes = encode_disk_record(write, room);
    out.insert(out.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(bytes));
  });
  return failed;
}

}  // namespace understudy::checkpointer
