// The backup's image of a guest: whole epochs, applied in order, and nothing else.
#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "checkpointer/disk_replica.hpp"
#include "checkpointer/earlier_memory.hpp"
#include "checkpointer/history.hpp"
#include "checkpointer/page_codec.hpp"
#include "checkpointer/ram_snapshot.hpp"
#include "config/clock.hpp"
#include "config/mapping.hpp"
#include "hypervisor/machine.hpp"
#include "replication/replication_server.hpp"

namespace understudy::checkpointer {

/// What of a replica others may know.
struct ReplicaStatus {
  Epoch committed;  ///< 0: still synchronising; not fit to be promoted
  TimePoint last_commit;
  bool over{};  ///< the session has ended
  std::string why_over;
};

/// A commit that others may read at leisure while later ones are applied.
struct FrozenEpoch {
  Epoch epoch;
  TimePoint committed_at;
  std::vector<std::byte> devices;
  std::vector<std::uint64_t> used_bytes;  ///< as hypervisor::DeviceState has them
  Mapping device_area;                    ///< what undo records of the devices apply to ...
  std::shared_ptr<History::Pin> pin;      ///< ... of this moment; of a replica with a history
};

/// What leads a replica back to an earlier epoch, read whole: nothing more need be.
struct WayBack {
  HistoryPoint from;
  HistoryPoint to;
  UndoRecords memory;
  UndoRecords disks;
};

/// The session's thread calls the events; `status` any thread; `abandon`, `freeze` and `thaw` any
/// other; `devices` after the session has ended.
class Replica final : public replication::ReplicaEvents {
 public:
  /// Writes into `image`, which must outlive the session. `disks`: null for a guest without.
  /// `history`: null where none is kept; the disks have the same. `earlier`: the image's beginning
  /// that may hold something from before; all else is zeros.
  [[nodiscard]] static Result<std::shared_ptr<Replica>> create(
      const hypervisor::RamLayout& layout, std::span<std::byte> image,
      std::function<void(const Error&)> on_over, std::function<void(Epoch)> on_first_commit,
      std::unique_ptr<DiskReplica> disks = nullptr, std::shared_ptr<History> history = nullptr,
      std::span<std::byte> earlier = {});

  Result<> on_sync_pages(std::span<const std::byte> payload) override;
  Result<> on_check(std::span<const std::byte> payload) override;
  Result<> on_sync_disk(std::span<const std::byte> payload) override;
  Result<> on_check_disk(std::span<const std::byte> payload) override;
  Result<> on_check_seal(const replication::Seal& seal) override;
  Result<> on_input(Epoch epoch, std::span<const std::byte> payload) override;
  void on_commit(const replication::StagedEpoch& epoch) override;
  replication::Reply on_request(const replication::Request& request,
                                const replication::KeepGoing& keep_going) override;
  void on_end(const Error& reason) override;

  /// The image is about to go (its machine died): nothing looks at it or writes to it any more.
  /// Waits for the event that is running. A session that goes on is ended at its next frame.
  void abandon();

  /// After the session, once: what the guest was given after the last commit, as far as is known.
  void give_input(
      const std::function<void(std::size_t nic, std::span<const std::byte> frame)>& give);

  // --- after the session, before finish_disks, in this order: another epoch is the newest
  /// Waits until all that is committed is on the disks. An error: nothing has changed.
  [[nodiscard]] Result<WayBack> find_way_back(Epoch to);
  /// A crash after it ends with the earlier disks. An error: nothing has changed.
  [[nodiscard]] Result<> log_way_back(const WayBack& way);
  /// The input is forgotten: it was given to a guest that is no more. An error: memory and disks
  /// are of no epoch now; the disks will be when they are opened anew.
  [[nodiscard]] Result<> go_back(const WayBack& way);

  /// After the session: the disks' images hold the last commit, durably, and are this host's own.
  [[nodiscard]] Result<> finish_disks();

  /// Freezes the last commit: what comes later is kept from `ram` (of this image) and `disks`.
  /// Until `thaw`, or the end of the session, after which neither may be relied upon.
  [[nodiscard]] Result<FrozenEpoch> freeze(const std::shared_ptr<RamSnapshot>& ram,
                                           std::shared_ptr<DiskSnapshot> disks);
  /// Nobody here uses these snapshots any more when it returns. Null: of that there is none.
  void thaw(const std::shared_ptr<RamSnapshot>& ram, const std::shared_ptr<DiskSnapshot>& disks);
  /// Null: none is kept.
  [[nodiscard]] const std::shared_ptr<History>& history() const { return history_; }
  /// For a snapshot: it reads what is there.
  [[nodiscard]] std::span<const std::byte> ram() const { return image_.ram; }
  /// Of a page of it, after the session: false: zeros.
  [[nodiscard]] bool touched(PageIndex page) const { return touched_[page.value()]; }
  [[nodiscard]] const hypervisor::RamLayout& layout() const { return layout_; }

  [[nodiscard]] ReplicaStatus status() const;

  /// Device state of the last commit.
  [[nodiscard]] hypervisor::DeviceState devices() const;

 private:
  Replica(const hypervisor::RamLayout& layout, std::span<std::byte> image, Mapping device_area,
          std::function<void(const Error&)> on_over, std::function<void(Epoch)> on_first_commit,
          std::unique_ptr<DiskReplica> disks, std::shared_ptr<History> history,
          std::span<std::byte> earlier);

  void answer_verify(replication::Reply& reply, const replication::KeepGoing& keep_going);
  void answer_memory(const replication::Request& request, replication::Reply& reply,
                     const replication::KeepGoing& keep_going);
  void answer_disk_digest(const replication::DiskDigestRequest& request, replication::Reply& reply);
  void answer_disk_map(const replication::DiskMapRequest& request, replication::Reply& reply);
  /// nullopt when told to stop.
  [[nodiscard]] std::optional<std::vector<std::string>> digest(
      const replication::KeepGoing& keep_going) const;
  /// With image_mutex_ held.
  [[nodiscard]] Result<> need_image() const;
  void thaw_all();
  [[nodiscard]] HistoryPoint point(Epoch epoch, UnixTime committed_at) const;
  void apply(std::span<const std::byte> payload);
  /// It is part of the image now. With mutex_ held.
  void forget_input(Epoch committed);

  hypervisor::RamLayout layout_;
  std::mutex image_mutex_;  ///< for image and disks, against `abandon`; before mutex_
  bool abandoned_{};
  ImageView image_;
  Mapping device_area_;
  std::vector<bool> touched_;  ///< pages that were ever written: all others are zero
  EarlierMemory earlier_;
  replication::Seal last_seal_;
  std::function<void(const Error&)> on_over_;
  std::function<void(Epoch)> on_first_commit_;
  std::unique_ptr<DiskReplica> disks_;
  std::vector<std::shared_ptr<RamSnapshot>> snapshots_;
  const std::shared_ptr<History> history_;
  UnixTime committed_at_;  ///< the last commit

  mutable std::mutex mutex_;
  ReplicaStatus status_;
  std::deque<std::pair<Epoch, std::vector<std::byte>>> input_;  ///< of epochs not committed
  std::size_t input_bytes_{};
};

}  // namespace understudy::checkpointer
