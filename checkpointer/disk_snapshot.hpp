// A guest's replicated images as of one epoch, while the replica goes on writing to them: before it
// changes a chunk, the old contents are kept apart.
//
// The images hold all of the epoch once the replica has applied what was committed before it
// (`settled`); until then there is nothing to be read here.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include "checkpointer/chunk_store.hpp"
#include "checkpointer/guest_disks.hpp"
#include "config/clock.hpp"

namespace understudy::checkpointer {

/// Thread-safe.
class DiskSnapshot {
 public:
  /// Old contents go to temporary files in `directory`.
  [[nodiscard]] static Result<std::shared_ptr<DiskSnapshot>> create(
      const std::string& directory, const std::vector<std::uint64_t>& disk_bytes);

  // --- the replica's side
  /// The images whose present and queued state is to be kept. Until `detach`.
  void attach(GuestDisks& disks);
  void settled();
  /// Before a range is changed by what was committed later. Never an error for the replica: what
  /// cannot be kept breaks the snapshot.
  void preserve(std::size_t disk, std::uint64_t offset, std::uint32_t bytes);
  /// The images are about to go, or to change by other hands.
  void detach();

  // --- the reader's side
  [[nodiscard]] std::size_t disks() const { return kept_.size(); }
  [[nodiscard]] std::uint64_t bytes(std::size_t disk) const { return kept_[disk].bytes; }
  /// False: not within `patience`.
  [[nodiscard]] bool wait_until_settled(Duration patience);
  [[nodiscard]] std::error_code read(std::size_t disk, std::uint64_t offset,
                                     std::span<std::byte> out);
  /// The first place at or after `offset` that may hold anything but zeros; at the end: none. Of
  /// whole chunks.
  [[nodiscard]] std::uint64_t next_data(std::size_t disk, std::uint64_t offset) const;
  /// Why it cannot be read to its end; empty: it can.
  [[nodiscard]] std::string broken() const;

 private:
  struct Kept {
    std::uint64_t bytes;
    ChunkStore chunks;
  };
  explicit DiskSnapshot(std::vector<Kept> kept) : kept_{std::move(kept)} {}
  [[nodiscard]] std::error_code keep(std::size_t disk, std::uint64_t chunk);

  mutable std::mutex mutex_;  ///< also while the images are read: no change overtakes that
  std::condition_variable changed_;
  std::vector<Kept> kept_;
  GuestDisks* base_{};
  bool settled_{};
  std::string broken_;
};

}  // namespace understudy::checkpointer
