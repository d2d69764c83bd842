// Puts a checkpoint into a machine that waits, and over the images of its disks.
//
//   the memory first ─► images marked as incomplete ─► disks ─► durable, marked as this host's own
//
// Whatever fails: before the mark nothing has changed, after it the guest is not booted from there.
#pragma once

#include <string>
#include <vector>

#include "checkpointer/checkpoint_file.hpp"
#include "checkpointer/disk_state.hpp"
#include "checkpointer/guest_disks.hpp"
#include "hypervisor/qemu_machine.hpp"

namespace understudy::checkpointer {

/// Whether a checkpoint is of this guest, by its configuration here; one sentence per difference.
/// What a host's QEMU is, only its machine can say: import_checkpoint.
[[nodiscard]] Result<> check_import(const Checkpoint& about, const config::Guest& own);

/// The devices that a machine is to be promoted with.
struct ImportedDevices {
  std::vector<std::byte> bytes;
  std::vector<std::uint64_t> used_bytes;
};

/// `machine` was started incoming, with fresh memory; `disks` are its own, in DiskMode::standby.
/// Blocks. On return the images are whole, durably, and this host's own; the error says what they
/// are worth if not.
[[nodiscard]] Result<ImportedDevices> import_checkpoint(const std::string& path,
                                                        hypervisor::QemuMachine& machine,
                                                        GuestDisks& disks, const DiskState& state,
                                                        const CheckpointProgress& progress);

}  // namespace understudy::checkpointer
