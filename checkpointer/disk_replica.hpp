// The backup's side of a guest's disks: committed epochs wait in memory and reach the images whole,
// through the journal, in the background.
//
//   commit → queue → journal, durable → images, durable
//
// All epochs that wait are one batch, and a batch costs two flushes of the disk, however little it
// has. So an epoch waits a moment for others; a slow disk makes batches larger, and a queue that is
// full makes the primary wait for its commits.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "checkpointer/disk_journal.hpp"
#include "checkpointer/disk_snapshot.hpp"
#include "checkpointer/disk_state.hpp"
#include "checkpointer/disk_undo.hpp"
#include "checkpointer/guest_disks.hpp"
#include "checkpointer/history.hpp"
#include "config/clock.hpp"
#include "replication/replication_server.hpp"

namespace understudy::checkpointer {

/// Finishes what a crash has interrupted: applies a whole batch of the journal to the images. Call
/// it before anything else reads or writes them.
[[nodiscard]] Result<> recover_images(GuestDisks& disks, const DiskState& state);

/// The session's thread calls all but `finish`, `freeze` and `thaw`.
class DiskReplica {
 public:
  /// The images count as incomplete from now on, until the first epoch is on disk.
  /// `history`: null where none is kept.
  [[nodiscard]] static Result<std::unique_ptr<DiskReplica>> create(
      GuestDisks& disks, const DiskState& state, std::shared_ptr<History> history = nullptr);
  /// Applies what is committed, for as long as limits::disk_drain; what is then left is dropped,
  /// and the images stay at an earlier epoch's boundary.
  ~DiskReplica();
  DiskReplica(const DiskReplica&) = delete;
  DiskReplica& operator=(const DiskReplica&) = delete;

  [[nodiscard]] Result<> check(std::span<const std::byte> payload) const;
  /// Contents of the synchronisation. Waits while the queue is full, as `wait_for_room`.
  [[nodiscard]] Result<> synchronise(std::span<const std::byte> payload);
  /// Before an epoch is acknowledged; an error: the images here cannot take any more.
  [[nodiscard]] Result<> wait_for_room();
  /// After wait_for_room: cannot fail.
  void commit(const std::vector<std::span<const std::byte>>& payloads, Epoch epoch);

  /// Freezes what was committed until now. Any thread, but not beside `commit`.
  void freeze(std::shared_ptr<DiskSnapshot> snapshot);
  /// What is committed from now on is not kept from it any more. The same.
  void thaw(const std::shared_ptr<DiskSnapshot>& snapshot);
  void thaw_all();

  /// XXH3-128 of chunks as of everything before, be it in the image yet or not. Does not wait.
  [[nodiscard]] Result<std::vector<std::string>> digest_chunks(
      const replication::DiskDigestRequest& request);
  /// Where the images here may differ from those of a host whose log bears the request's id; before
  /// anything is written to them.
  [[nodiscard]] Result<replication::DiskMapReply> map(const replication::DiskMapRequest& request);
  /// Which epochs are in the images, durably.
  [[nodiscard]] replication::DiskDurableReply durable() const;
  /// Until all of that is in the images, durably.
  [[nodiscard]] Result<> wait_until_applied(const replication::KeepGoing& keep_going);

  /// After the session, before `finish`: the images go back by undo records (disk_undo.hpp; one a
  /// block), all of it or nothing. When log_back returns without an error,
  /// a crash ends at the earlier epoch; with one, nothing has changed. After an error of `go_back`
  /// the images are of no epoch until they are opened anew.
  [[nodiscard]] std::uint64_t blocks() const { return undo_.blocks(); }
  [[nodiscard]] Result<> log_back(std::span<const std::byte> undo);
  [[nodiscard]] Result<> go_back();

  /// After the session: everything is in the images, durably, and they are this host's own. May
  /// take as long as the disks need.
  [[nodiscard]] Result<> finish();

 private:
  using Snapshots = std::vector<std::shared_ptr<DiskSnapshot>>;
  struct Item {
    bool epoch;  ///< else synchronisation
    std::vector<std::byte> records;
    Epoch number{};                           ///< of an epoch that changes something
    Snapshots after{};                        ///< taken before: keep what is overwritten
    std::shared_ptr<DiskSnapshot> settles{};  ///< it was taken here
  };
  using Items = std::vector<Item>;

  DiskReplica(GuestDisks& disks, DiskState state, DiskJournal journal,
              std::shared_ptr<History> history);

  void run();
  /// Whether what waits must not wait for more; with mutex_ held.
  [[nodiscard]] bool is_due() const;
  /// What to apply next, with mutex_ held; nothing when it is time to end.
  [[nodiscard]] Items next();
  void drop_rest();
  /// Before the images are written to: what an earlier synchronisation left is true only for the
  /// primary that knows of it.
  [[nodiscard]] Result<> forget_others();
  /// The images are whole and durable.
  [[nodiscard]] Result<> become_whole();
  void applied(const Items& items);
  [[nodiscard]] Result<> apply(const Items& items);
  [[nodiscard]] Result<> apply_epochs(std::span<const Item> items);
  [[nodiscard]] Result<> write(const Item& item);
  void keep_history(const Item& item, const DiskRecord& record, UndoRecords& undo);
  static void settle(std::span<const Item> items);
  void push(Item item);
  /// With mutex_ held.
  void set_queued(std::size_t bytes);
  [[nodiscard]] Result<std::vector<std::uint64_t>> chunks_of(
      const replication::DiskDigestRequest& request);

  GuestDisks& disks_;
  const std::vector<std::uint64_t> sizes_;
  DiskState state_;
  DiskJournal journal_;
  const std::shared_ptr<History> history_;
  const DiskUndo undo_;
  std::vector<std::byte> back_;  ///< what go_back writes: it is in the journal
  bool at_boundary_{};           ///< the thread's: the images are at the end of an epoch
  bool whole_{};                 ///< the thread's: the images have been at an epoch's boundary
  bool overwriting_{};           ///< the thread's: it has begun to write

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Items queue_;
  Items applying_;  ///< the thread's; changed with mutex_ held
  Snapshots snapshots_;
  bool joined_{};  ///< the primary knows of the same earlier synchronisation
  PairId next_;    ///< of this one; none: the primary does not tell
  bool paired_{};  ///< ... and it is in this host's log
  Epoch durable_;
  std::size_t queued_bytes_{};        ///< being applied included
  int hurry_{};                       ///< how many wait until all is applied
  std::optional<TimePoint> stop_by_;  ///< it is ending
  std::optional<Error> broken_;

  std::thread thread_;
};

}  // namespace understudy::checkpointer
