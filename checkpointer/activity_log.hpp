// What this host remembers of its own writes to a guest's images, so that after any crash of either
// host, or of both, a synchronisation reads only where the two images may differ.
//
//   Two hosts whose logs bear the same pair id have equal images, but for the extents (4 MiB) that
//   either log names.
//
// That stays true because of the order in which things reach the disks:
//   an extent is in the log's file before its first write reaches the image
//   it leaves the log when both images have its writes durably (activity_machine.hpp)
//   a new id, one for each synchronisation, reaches the backup's log when its first whole epoch is
//   on its disk, and the primary's after that, when its own images are flushed. A crash in between
//   leaves two ids that differ
//   whoever is about to be overwritten from anywhere else forgets its id first, and so does who is
//   started from images that an operator vouches for, or finds an image, or the log, to be another
// Two ids that differ, or none, mean that the whole images are compared. So does whatever cannot be
// read or written here: then the id is removed first.
//
// A promoted backup keeps its id and marks what it writes, as the host that lost its backup does:
// nothing leaves a log while there is no session. What a backup applies is not in its own log: it
// is in the primary's, until it is durable.
//
// An operator who writes to an image by hand removes the log (NAME.log) first. The time of its last
// change tells of that only after a clean end, and of a block device never.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "checkpointer/activity_machine.hpp"

namespace understudy::checkpointer {

/// The log's file. After an error of `replace` or `append` only `remove` is called.
class ActivityStore {
 public:
  virtual ~ActivityStore() = default;
  /// nullopt: there is none.
  [[nodiscard]] virtual Result<std::optional<std::vector<std::byte>>> load() = 0;
  /// As a whole, durably: after a power loss meanwhile it is the old one or the new one.
  [[nodiscard]] virtual Result<> replace(std::span<const std::byte> file) = 0;
  /// Writes inside the file, durably.
  [[nodiscard]] virtual Result<> append(const ActivityBatch& batch) = 0;
  /// Durably.
  [[nodiscard]] virtual Result<> remove() = 0;
};

/// Thread-safe; writes wait for the file only where they must be logged.
class ActivityLog {
 public:
  struct Images {
    std::function<Result<std::vector<ImageIdentity>>()> identities;
    /// Everything that was written before is durable; what other processes wrote, too.
    std::function<std::error_code()> flush;
  };
  ActivityLog(std::string guest, std::unique_ptr<ActivityStore> store, Images images);
  ~ActivityLog();
  ActivityLog(const ActivityLog&) = delete;
  ActivityLog& operator=(const ActivityLog&) = delete;

  /// First, before anything is written to the images. An error: what is there cannot be removed.
  [[nodiscard]] Result<> open();
  /// The id is no longer true, for this reason.
  [[nodiscard]] Result<> forget(std::string why);
  /// Nobody writes any more: what the images are like now.
  void close();

  // --- a guest that runs here
  /// Around a write; an error: it must not happen.
  class Write {
   public:
    Write(ActivityLog* log, std::uint16_t disk, std::uint64_t offset, std::uint64_t bytes);
    /// Of many places, logged at once.
    Write(ActivityLog* log, std::vector<Extent> extents);
    ~Write();
    Write(const Write&) = delete;
    Write& operator=(const Write&) = delete;
    [[nodiscard]] std::error_code error() const { return error_; }
    void failed() { how_ = WriteEnd::unknown; }

   private:
    ActivityLog* log_;
    std::vector<Extent> extents_;
    std::error_code error_;
    WriteEnd how_{WriteEnd::known};
  };

  struct Known {
    PairId pair;                 ///< or none
    std::string why_none;        ///< why
    std::vector<Extent> marked;  ///< ascending
  };

  /// A synchronisation to a backup begins; writes are tracked already. What is known of an earlier
  /// one.
  [[nodiscard]] Known begin_session(PairId next);
  /// Before the writes of the running epoch are cut: later ones belong to the next.
  void seal(Epoch epoch);
  /// What the backup of that session says. `clean` takes it from there.
  void durable(PairId next, Epoch epoch);
  /// Takes over the session's id when it is time; later removes what may go, now and then. Blocks
  /// as long as the disks do.
  void clean(TimePoint now);

  // --- a backup; nobody writes through `Write` meanwhile
  [[nodiscard]] Known known() const;
  /// The images have been whole and durable since the first epoch. False: there is no id now.
  [[nodiscard]] bool adopt(PairId next);

 private:
  [[nodiscard]] std::error_code begin(std::span<const Extent> extents);
  void end(std::span<const Extent> extents, WriteEnd how);
  /// The rest with io_ held.
  [[nodiscard]] Result<> log(std::span<const Extent> extents);
  [[nodiscard]] Result<> replace(PairId pair, const std::vector<Extent>& marked);
  [[nodiscard]] Result<> lose(std::string why);
  /// With state_ held.
  void limit_memory();

  const std::string guest_;
  const std::unique_ptr<ActivityStore> store_;
  const Images images_;

  std::mutex cleaning_;  ///< one at a time; before io_
  std::mutex io_;        ///< the file; before state_
  ActivityTail tail_;
  std::vector<ImageIdentity> identities_;

  mutable std::mutex state_;
  ActivityMachine machine_;
  PairId pair_;      ///< the file's; changed with io_ held, too
  bool becoming_{};  ///< an id is being written: who writes now must be logged under it
  bool stuck_{};     ///< there may be a file that is not true, and cannot be removed
  std::string why_none_;
  TimePoint cleaned_;
  PairId next_;  ///< of the session; none: there is none, or it cannot come to an end
  Epoch durable_;
};

}  // namespace understudy::checkpointer
