#include "checkpointer/clone_checkpoint.hpp"

#include <utility>

namespace understudy::checkpointer {

Checkpoint make_checkpoint(replication::Offer machine, const hypervisor::DeviceState& devices,
                           Epoch epoch, UnixTime committed_at, const CheckpointAuthor& author) {
  Checkpoint about;
  machine.clear_term();
  machine.mutable_guest()->clear_drill();
  machine.mutable_guest()->clear_history();
  machine.mutable_guest()->clear_protection();
  *about.mutable_machine() = std::move(machine);
  about.set_epoch(epoch.value());
  about.set_committed_unix_us(unix_us(committed_at));
  about.set_device_bytes(devices.bytes.size());
  for (const auto used : devices.used_bytes) about.add_used_bytes(used);
  about.set_host(author.host);
  about.set_version(author.version);
  return about;
}

CloneCheckpoint::CloneCheckpoint(const CloneState& state, const CheckpointAuthor& author)
    : state_{state},
      about_{make_checkpoint(state.source().machine,
                             {state.frozen().devices, state.frozen().used_bytes},
                             state.frozen().epoch, state.committed_at(), author)} {}

}  // namespace understudy::checkpointer
