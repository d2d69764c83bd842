// Undo records of a guest's disks: their blocks of 4 KiB, counted over all of them, are the pages.
// A disk's last block may be shorter; it counts as whole, with zeros.
#pragma once

#include "checkpointer/block_device.hpp"
#include "checkpointer/disk_codec.hpp"
#include "checkpointer/undo_records.hpp"

namespace understudy::checkpointer {

/// Whether so many blocks may go back at once: they pass through a journal.
[[nodiscard]] Result<> check_blocks_back(std::uint64_t blocks);

class DiskUndo {
 public:
  explicit DiskUndo(std::span<const std::uint64_t> disk_bytes);

  [[nodiscard]] std::uint64_t blocks() const { return first_.back(); }

  /// Before a record is applied: appends what it changes. `read(offset, out)` reads its disk.
  using Read = std::function<std::error_code(std::uint64_t offset, std::span<std::byte> out)>;
  [[nodiscard]] std::error_code append(const DiskRecord& record, const Read& read,
                                       UndoRecords& out) const;

  /// Goes back: `records` have passed check_records for `blocks()`.
  [[nodiscard]] std::error_code apply(std::span<const std::byte> records,
                                      std::span<BlockDevice* const> disks) const;

  /// The same as records of whole blocks (disk_codec.hpp), of the disks as they are now; appended.
  using ReadDisk = std::function<std::error_code(std::size_t disk, std::uint64_t offset,
                                                 std::span<std::byte> out)>;
  [[nodiscard]] std::error_code to_disk_records(std::span<const std::byte> records,
                                                const ReadDisk& read,
                                                std::vector<std::byte>& out) const;

 private:
  struct Place {
    std::size_t disk;
    std::uint64_t offset;
    std::size_t bytes;
  };
  [[nodiscard]] Place place(std::uint64_t block) const;

  std::vector<std::uint64_t> sizes_;
  std::vector<std::uint64_t> first_;  ///< block of each disk, and behind the last
};

}  // namespace understudy::checkpointer
