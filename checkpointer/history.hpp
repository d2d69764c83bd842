// What a replica was: for each of its epochs what turns the image after it into the image before
// it, in a file, thinned out with age and dropped with the oldest first.
//
//   replica ──undo records──► queue ──own thread──► file, merged as history_plan.hpp says
//
// The replica never waits: when the file cannot keep up, all history is dropped, which is said and
// counted. It belongs to the image of this replica in memory, and goes with it.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "checkpointer/history_plan.hpp"
#include "checkpointer/history_store.hpp"
#include "checkpointer/undo_records.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

/// A moment that can be gone back to.
struct HistoryPoint {
  Epoch epoch;
  UnixTime committed_at;
  std::uint64_t device_bytes{};
  std::vector<std::uint64_t> used_bytes;  ///< as hypervisor::DeviceState has them
};

struct HistoryBounds {
  Duration depth;
  std::uint64_t bytes;
};

/// How to go back to a point. In this order, each piece whole.
struct HistoryPath {
  HistoryPoint to;
  std::vector<HistoryStore::PiecePointer> memory;
  std::vector<HistoryStore::PiecePointer> disks;  ///< blocks as in disk_undo.hpp
  [[nodiscard]] std::uint64_t bytes() const;
};

struct HistoryReport {
  struct Band {
    Duration until_age;
    std::uint64_t points{};
    std::uint64_t bytes{};
  };
  HistoryBounds bounds;
  std::optional<HistoryPoint> oldest;
  std::optional<HistoryPoint> newest;
  std::vector<Band> bands;  ///< the newest first; the last has no limit
  std::uint64_t losses{};
  std::string loss;  ///< why, the last time
};

/// What is looked for: exactly this epoch, or the newest until then.
using HistoryWish = std::variant<Epoch, UnixTime>;

class History : public std::enable_shared_from_this<History> {
 public:
  [[nodiscard]] static Result<std::shared_ptr<History>> create(std::string guest,
                                                               const std::string& directory,
                                                               HistoryBounds bounds);
  ~History();
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  // --- the replica's side; any thread, never waits for the file
  /// The image went from one point to the next.
  void changed(HistoryPoint before, HistoryPoint after, UndoRecords memory);
  /// What this epoch changed on the disks; after its `changed`, in the order of the epochs.
  void disks_changed(Epoch epoch, UndoRecords blocks);
  /// The way back is interrupted.
  void lose(const std::string& why);

  // --- the readers' side; any thread
  /// While it lives, its point is not merged with others. It may be dropped.
  class Pin {
   public:
    Pin(std::shared_ptr<History> history, Epoch epoch);
    ~Pin();
    Pin(Pin&& other) noexcept = default;
    Pin& operator=(Pin&&) = delete;
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    [[nodiscard]] Epoch epoch() const { return epoch_; }

   private:
    std::shared_ptr<History> history_;
    Epoch epoch_;
  };
  /// Errors say what can be had instead. Waits for what is on its way.
  [[nodiscard]] Result<Pin> find(const HistoryWish& wish);
  [[nodiscard]] Pin pin(Epoch epoch) { return {shared_from_this(), epoch}; }
  /// Both pinned. Waits for what is on its way.
  [[nodiscard]] Result<HistoryPath> path(Epoch from, Epoch to);
  [[nodiscard]] HistoryReport report(UnixTime now) const;

 private:
  using Pieces = std::vector<HistoryStore::PiecePointer>;
  struct Step {  ///< leads back to `before`
    HistoryPoint before;
    Pieces memory;  ///< at most one
    Pieces disks;   ///< oldest first
    [[nodiscard]] std::uint64_t bytes() const;
  };
  struct Changed {
    HistoryPoint before;
    HistoryPoint after;
    UndoRecords memory;
  };
  struct DisksChanged {
    Epoch epoch;
    UndoRecords blocks;
  };
  using Item = std::variant<Changed, DisksChanged>;

  History(std::string guest, std::shared_ptr<HistoryStore> store, HistoryBounds bounds);
  void push(Item item, std::size_t bytes);
  void run();
  [[nodiscard]] Result<> take(Changed& item, std::uint64_t generation);
  [[nodiscard]] Result<> take(DisksChanged& item, std::uint64_t generation);
  /// False: nothing to do.
  [[nodiscard]] Result<bool> thin_one();
  [[nodiscard]] Result<Pieces> merged(const Pieces& oldest_first) const;
  void drop_oldest(UnixTime now);
  void lose_locked(const std::string& why);
  [[nodiscard]] Result<> wait_until_idle(std::unique_lock<std::mutex>& lock);
  [[nodiscard]] Result<Epoch> find_locked(const HistoryWish& wish) const;

  const std::string guest_;
  const std::shared_ptr<HistoryStore> store_;
  const HistoryBounds bounds_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> queue_;
  std::size_t queued_bytes_{};
  std::uint64_t pushed_{};  ///< items, since ever
  std::uint64_t taken_{};
  std::uint64_t generation_{};  ///< grows with each loss
  std::deque<Step> steps_;      ///< oldest first
  std::uint64_t bytes_{};       ///< of them
  std::optional<HistoryPoint> present_;
  std::multiset<Epoch> pins_;
  std::uint64_t losses_{};
  std::string loss_;
  bool stopping_{};

  std::thread thread_;
};

}  // namespace understudy::checkpointer
