// What a checkpoint file is written from: the state of a clone that does not run, or what is said
// of any other guest that stands still.
#pragma once

#include <string>

#include "checkpointer/checkpoint_file.hpp"
#include "checkpointer/clone_state.hpp"

namespace understudy::checkpointer {

/// Who writes a file, for its readers.
struct CheckpointAuthor {
  std::string host;
  std::string version;
};

/// `machine`: as a primary would offer it. What concerns a host only is left out.
[[nodiscard]] Checkpoint make_checkpoint(replication::Offer machine,
                                         const hypervisor::DeviceState& devices, Epoch epoch,
                                         UnixTime committed_at, const CheckpointAuthor& author);

class CloneCheckpoint final : public CheckpointSource {
 public:
  /// All is copied, and nothing of it changes any more. It outlives this.
  CloneCheckpoint(const CloneState& state, const CheckpointAuthor& author);

  [[nodiscard]] const Checkpoint& about() const override { return about_; }
  [[nodiscard]] std::span<const std::byte> devices() const override {
    return state_.frozen().devices;
  }
  [[nodiscard]] std::span<const std::byte> memory() const override { return state_.image(); }
  [[nodiscard]] std::error_code read_disk(std::size_t disk, std::uint64_t offset,
                                          std::span<std::byte> out) override {
    return state_.disks()[disk]->read(offset, out);
  }
  [[nodiscard]] std::uint64_t next_data(std::size_t disk, std::uint64_t offset) override {
    return state_.disks()[disk]->next_data(offset);
  }

 private:
  const CloneState& state_;
  const Checkpoint about_;
};

}  // namespace understudy::checkpointer
