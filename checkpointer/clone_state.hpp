// A replica's frozen epoch, taken apart from it: memory, device state and disks, while the replica
// goes on.
//
//   prepare ─► freeze ─► copy until all is there ─► (go_back ─►) it stands still
//
// One thread. The disks, and memory that is shared, are read through the replica's images until the
// end of its life.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpointer/checkpoint_file.hpp"
#include "checkpointer/clone_disk.hpp"
#include "checkpointer/disk_snapshot.hpp"
#include "checkpointer/history.hpp"
#include "checkpointer/page_server.hpp"
#include "checkpointer/replica.hpp"
#include "config/config.pb.h"
#include "replication/messages.pb.h"

namespace understudy::checkpointer {

/// What is cloned: the replica that is here, and the guest that it is one of.
struct CloneSource {
  std::shared_ptr<Replica> replica;
  config::Guest guest;  ///< as its standby was started
  std::vector<std::uint64_t> disk_bytes;
  std::string console_log{};     ///< of the clone; empty: none
  replication::Offer machine{};  ///< as a primary would offer what the standby is; of no term
};

/// What the replica keeps of its past; an error says what to do if that is nothing.
[[nodiscard]] Result<std::shared_ptr<History>> history_of(const CloneSource& source);

/// Where it is to go back to, kept until then; nullopt: nowhere, the newest commit is wanted.
[[nodiscard]] Result<std::optional<History::Pin>> find_past(
    const CloneSource& source, const std::optional<HistoryWish>& moment);

class CloneState {
 public:
  /// `directory` takes temporary files. Refuses when less than `memory` bytes and a reserve are
  /// free on this host.
  [[nodiscard]] static Result<std::unique_ptr<CloneState>> prepare(CloneSource source,
                                                                   const std::string& directory,
                                                                   std::uint64_t memory);
  ~CloneState();
  CloneState(const CloneState&) = delete;
  CloneState& operator=(const CloneState&) = delete;

  /// From now on it is the state of the newest commit. Its memory goes to `image`, of the layout's
  /// size, zeros, which lives as long as this; pages of a machine's main RAM, the beginning of
  /// `image`, only when they are touched, given `on_demand`.
  [[nodiscard]] Result<> freeze(std::span<std::byte> image,
                                std::shared_ptr<hypervisor::PagesOnDemand> on_demand = nullptr);
  [[nodiscard]] const FrozenEpoch& frozen() const { return frozen_; }
  /// When that was committed.
  [[nodiscard]] UnixTime committed_at() const { return committed_at_; }
  /// Copies what is not given on demand, and waits for the disks. Errors: the replica went away.
  [[nodiscard]] Result<> copy(const CheckpointProgress& progress);
  /// To an earlier epoch, of the replica's history.
  [[nodiscard]] Result<HistoryPoint> go_back(Epoch epoch);
  /// An error: what it reads from is no more. Never waits.
  [[nodiscard]] Result<> check() const;

  [[nodiscard]] const CloneSource& source() const { return source_; }
  [[nodiscard]] std::span<const std::byte> image() const { return image_; }
  [[nodiscard]] const std::vector<std::unique_ptr<CloneDisk>>& disks() const { return devices_; }

 private:
  CloneState(CloneSource source, std::shared_ptr<DiskSnapshot> disks)
      : source_{std::move(source)}, disks_{std::move(disks)} {}

  CloneSource source_;
  std::shared_ptr<DiskSnapshot> disks_;  ///< null: the guest has none
  std::vector<std::unique_ptr<CloneDisk>> devices_;
  std::shared_ptr<RamSnapshot> ram_;
  std::optional<PageServer> server_;  ///< none: all memory is copied
  std::span<std::byte> image_;
  FrozenEpoch frozen_;
  UnixTime committed_at_;
};

}  // namespace understudy::checkpointer
