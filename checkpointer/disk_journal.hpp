// The backup's write-ahead log: epochs that are being applied to a guest's images lie here first,
// whole and durable, so that a crash in the middle can be mended. One batch of epochs at a time.
//
//   0 magic "USDYDJ01"   8 u64 bytes of records   16 XXH3-128 of the records, seeded with their
//   number of bytes      32 the records (disk_codec.hpp)
//
// A batch whose checksum does not hold was torn, so nothing of it had reached an image.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::checkpointer {

/// One thread at a time.
class DiskJournal {
 public:
  [[nodiscard]] static Result<DiskJournal> open(const std::string& path);

  /// Durable when it returns; replaces the batch before it, which has been applied.
  [[nodiscard]] Result<> write(std::span<const std::span<const std::byte>> parts);
  /// The batch that may not have been applied; nullopt: none, or one that was torn.
  [[nodiscard]] Result<std::optional<std::vector<std::byte>>> load() const;
  /// The batch has been applied: no need to repeat it, and no harm if a power loss undoes this.
  [[nodiscard]] Result<> forget();
  /// Nothing is to be repeated any more: others may write to the images. Durable.
  [[nodiscard]] Result<> clear();

 private:
  DiskJournal(std::string path, UniqueFd file) : path_{std::move(path)}, file_{std::move(file)} {}

  std::string path_;
  UniqueFd file_;
};

}  // namespace understudy::checkpointer
