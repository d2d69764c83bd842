// `understudy verify`: a guest compared with its replica. The disks first, while it runs; then
// memory and devices, at one sealed epoch while it is paused.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpointer/disk_verification.hpp"
#include "config/types.hpp"
#include "hypervisor/machine.hpp"

namespace understudy::checkpointer {

struct BlockVerdict {
  std::string name;
  std::uint64_t bytes;
  bool identical;
};

struct VerifyVerdict {
  Epoch epoch;                       ///< of memory and devices
  std::vector<BlockVerdict> blocks;  ///< RAM, then the device state
  std::vector<DiskVerdict> disks;
};

struct VerifyOrder {
  Repair repair{};
  std::function<void(const std::string& step, double fraction)> progress;  ///< negative: not known
  std::function<void(Result<VerifyVerdict>)> done;                         ///< exactly once
};

/// What whoever asks the backup does next. The engine's thread.
class Verification {
 public:
  /// `disks`: null for a guest without; else as DiskVerification wants them.
  Verification(GuestDisks* disks, VerifyOrder order, std::uint64_t bytes_per_second, TimePoint now);

  struct Moment {
    TimePoint now;
    Epoch sealed;  ///< the last
    Epoch committed;
    std::optional<replication::Reply> answer;  ///< to the last question, once
  };
  struct Step {
    enum class What : std::uint8_t { wait, ask, memory } what;
    replication::DiskDigestRequest question;  ///< of `ask`
    TimePoint until;                          ///< of `wait`, or until something changes
  };
  /// `memory`: the disks are done, and what was repaired is committed.
  [[nodiscard]] Result<Step> step(const Moment& moment);
  /// The guest is paused, and its epoch's writes are cut.
  void at_seal();

  void comparing_memory() const { order_.progress("comparing memory and devices", -1); }
  /// Tells whoever ordered it; adds what is known of the disks. The last call.
  void finish(Result<VerifyVerdict> verdict);

 private:
  [[nodiscard]] Result<> take(const Moment& moment);
  void tell_progress(TimePoint now);

  VerifyOrder order_;
  std::optional<DiskVerification> disks_;
  std::optional<Epoch> asked_behind_;  ///< the last question, whose answer has not come
  TimePoint patience_;                 ///< for it
  Epoch repaired_in_;
  TimePoint tell_at_;
};

/// What a paused machine has in each RAM block, then in `devices`: as ImageDigest does.
[[nodiscard]] Result<std::vector<std::string>> digest_machine(
    hypervisor::ActiveMachine& machine, const hypervisor::DeviceState& devices);

[[nodiscard]] VerifyVerdict compare_memory(const hypervisor::RamLayout& layout,
                                           const std::vector<std::string>& here,
                                           const replication::VerifyReply& there);

}  // namespace understudy::checkpointer
