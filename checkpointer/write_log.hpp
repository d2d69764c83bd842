// What a guest has written to its disks in the running epoch, in the order in which the images have
// it. One for all disks of a guest, so that they share their epochs' boundaries.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "checkpointer/disk_codec.hpp"
#include "config/result.hpp"

namespace understudy::checkpointer {

struct DiskWrite {
  std::uint16_t disk;
  DiskContents what;
  std::uint64_t offset;
  std::uint32_t bytes;
  std::vector<std::byte> data;  ///< empty for zeros
};

/// Thread-safe.
class WriteLog {
 public:
  /// `hasten` is called, under the log's lock, when the epoch had better end soon.
  void open(std::function<void()> hasten);
  /// Forgets what it holds; nobody waits any more.
  void close();

  /// Before a write: waits while the epoch is full, but not for long, and not while `hurry`.
  void wait_for_room();
  void append(DiskWrite write);

  /// Whether writes must not wait: the machine is about to be paused, which waits for them.
  void hurry(bool whether);

  /// What the running epoch holds.
  [[nodiscard]] std::size_t bytes() const;
  /// Each write of the running epoch. The log is locked meanwhile.
  void visit(const std::function<void(const DiskWrite&)>& visit) const;

  /// Ends the epoch; `limit` when more was written than any backup takes.
  [[nodiscard]] Result<std::vector<DiskWrite>> cut();

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> hasten_;
  std::vector<DiskWrite> writes_;
  std::size_t bytes_{};
  bool overflown_{};
  bool hurry_{};
};

}  // namespace understudy::checkpointer
