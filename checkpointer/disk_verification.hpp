// Compares a guest's disks with the backup's while the guest runs, and sends again what differs.
//
//   the backup's digests of some chunks, and our own → equal: the next ones
//   → different, and not written in the running epoch → they do differ
//   → different, but written → once more: ours when the guest is paused at the end of the epoch
//
// The backup answers as of the epoch that was sealed last. What the image here has is that, too,
// unless the running epoch has written there since. So nothing is called different that is not,
// however much the guest writes; and what is equal is equal, whatever was written.
//
// A repair puts the chunk into the running epoch, as if the guest had written it: it reaches the
// backup in order with all other writes, whole, by its journal.
//
// Both read through the page cache of their kernels: what only the medium has forgotten is not
// seen.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpointer/guest_disks.hpp"
#include "checkpointer/rate_limit.hpp"
#include "config/clock.hpp"
#include "replication/messages.pb.h"

namespace understudy::checkpointer {

enum class Repair : std::uint8_t { no, yes };

struct DiskVerdict {
  std::string path;
  std::uint64_t bytes{};
  std::uint64_t different{};                ///< chunks
  std::vector<std::uint64_t> different_at;  ///< the first of them: byte offsets
  std::uint64_t repaired{};                 ///< chunks; theirs once the running epoch is committed
};

/// The engine's thread. After an error of any call it is over.
class DiskVerification {
 public:
  /// `disks` are in DiskMode::logging. `bytes_per_second`: of each host's reading; 0: no limit.
  DiskVerification(GuestDisks& disks, Repair repair, std::uint64_t bytes_per_second);

  struct Next {
    std::optional<replication::DiskDigestRequest> question;
    TimePoint again;  ///< when there is none: then; max(): after an answer or a seal
  };
  /// A question goes to the backup behind all of the epoch that was sealed last, and before
  /// anything of the next.
  [[nodiscard]] Result<Next> next(TimePoint now);
  /// The answer to the last question.
  [[nodiscard]] Result<> take(const replication::DiskDigestReply& answer);
  /// The guest is paused, and its epoch's writes are cut.
  void at_seal();

  [[nodiscard]] bool finished() const { return verdicts_.size() == disks_.size(); }
  [[nodiscard]] double fraction() const;
  /// Of the disks that are finished.
  [[nodiscard]] const std::vector<DiskVerdict>& verdicts() const { return verdicts_; }

 private:
  struct Asked {
    std::vector<std::uint64_t> chunks;
    std::vector<std::string> ours;
    std::vector<bool> written;  ///< in the running epoch, when ours was read
  };

  [[nodiscard]] GuestDisk& disk() { return disks_.disk(verdicts_.size()); }
  /// Nothing: not before a seal.
  [[nodiscard]] Result<std::optional<Asked>> look();
  [[nodiscard]] Result<> differs(std::uint64_t chunk);
  void finish_disk();

  GuestDisks& disks_;
  const Repair repair_;
  RateLimit rate_;
  TimePoint due_{};
  std::uint64_t sent_again_{};  ///< bytes, since the last question
  std::vector<DiskVerdict> verdicts_;
  DiskVerdict verdict_;       ///< of the disk that is being compared
  std::uint64_t position_{};  ///< the first chunk there that no question was about
  std::optional<Asked> asked_;
  std::vector<std::uint64_t> doubtful_;                      ///< to be compared at a seal
  std::optional<Result<std::vector<std::string>>> at_seal_;  ///< ours of them, as of the last one
};

}  // namespace understudy::checkpointer
