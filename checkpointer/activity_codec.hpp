// How a host's activity log (activity_log.hpp) lies on its disk. Pure.
//
//   head      magic "USDYAL01", pair id, number of disks, number of records that the file began
//             with, each disk's size, inode and time of birth, checksum; 256 bytes
//   record    u64 value, u64 batch, u16 kind, u16 disk, u32 left, u64 checksum; 32 bytes
//   zeros     room for more records
//
// A batch is appended as a whole before anything relies on it; `left` counts down to 0 in it. So
// only the last batch can be torn, and then nothing of it matters. Damage anywhere else is told.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "config/result.hpp"

namespace understudy::checkpointer {

/// Which state of a guest's disks two hosts have once shared. Random; all zero: none.
struct PairId {
  std::uint64_t high{};
  std::uint64_t low{};
  [[nodiscard]] bool none() const { return high == 0 && low == 0; }
  friend bool operator==(const PairId&, const PairId&) = default;
};

/// limits::activity_extent_bytes of a disk.
struct Extent {
  std::uint16_t disk{};
  std::uint64_t index{};
  friend auto operator<=>(const Extent&, const Extent&) = default;
};

/// What tells an image from another one that was put in its place.
struct ImageIdentity {
  std::uint64_t bytes{};
  std::uint64_t inode{};        ///< of a block device: its number
  std::uint64_t born_ns{};      ///< 0 where the file system does not tell
  std::uint64_t modified_ns{};  ///< 0 for a block device
  friend bool operator==(const ImageIdentity&, const ImageIdentity&) = default;
  /// But for the last modification.
  [[nodiscard]] bool same_image(const ImageIdentity& other) const {
    return bytes == other.bytes && inode == other.inode && born_ns == other.born_ns;
  }
};

struct ActivityRecord {
  PairId pair;
  std::vector<ImageIdentity> images;
  std::vector<Extent> marked;  ///< ascending
  bool clean{};                ///< nothing was written since `images` say so
};

struct ActivityBatch {
  std::uint64_t at{};  ///< byte in the file
  std::vector<std::byte> bytes;
};

/// Where the next batch goes.
class ActivityTail {
 public:
  /// For marks; room for a mark of a clean end is kept apart.
  [[nodiscard]] std::size_t room() const;
  [[nodiscard]] ActivityBatch marks(std::span<const Extent> extents);
  /// The last one: what the images are like.
  [[nodiscard]] ActivityBatch clean_end(std::span<const ImageIdentity> images);

 private:
  friend class ActivityImage;
  template <class Records>
  [[nodiscard]] ActivityBatch append(Records& records);
  std::uint64_t seed_{};
  std::uint64_t at_{};
  std::uint64_t batch_{};
  std::uint64_t end_{};
};

/// A whole file, and where it goes on.
class ActivityImage {
 public:
  explicit ActivityImage(const ActivityRecord& record);
  std::vector<std::byte> bytes;
  ActivityTail tail;
};

/// `invalid`: it is damaged; a torn last batch is none.
[[nodiscard]] Result<ActivityRecord> decode_activity(std::span<const std::byte> file);

[[nodiscard]] std::uint64_t activity_file_bytes_max();

/// The extents that a range of a disk touches.
[[nodiscard]] std::vector<Extent> extents_of(std::uint16_t disk, std::uint64_t offset,
                                             std::uint64_t bytes);

}  // namespace understudy::checkpointer
