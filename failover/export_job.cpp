#include "failover/export_job.hpp"

#include <utility>

#include "config/limits.hpp"

namespace understudy::failover {

using checkpointer::CloneState;

Result<control::Exported> export_checkpoint(const ExportOrder& order,
                                            checkpointer::CheckpointProgress progress) {
  UNDERSTUDY_CHECK(checkpointer::check_checkpoint_path(order.path, order.if_there));
  UNDERSTUDY_TRY(const auto past, checkpointer::find_past(order.source, order.moment));
  UNDERSTUDY_TRY(const auto memory, Mapping::anonymous(order.source.replica->layout().bytes()));
  UNDERSTUDY_TRY(const auto state,
                 CloneState::prepare(order.source, order.directory, memory.bytes().size()));
  UNDERSTUDY_CHECK(state->freeze(memory.bytes()));
  progress.rest = limits::clone_copy_rest;
  progress.go_on = [&state, asked = std::move(progress.go_on)]() -> Result<> {
    UNDERSTUDY_CHECK(state->check());
    return asked();
  };
  UNDERSTUDY_CHECK(state->copy(progress));
  if (past) {
    progress.tell("going back", -1);
    UNDERSTUDY_CHECK(state->go_back(past->epoch()));
  }
  checkpointer::CloneCheckpoint checkpoint{*state, order.author};
  UNDERSTUDY_TRY(const auto counts,
                 checkpointer::write_checkpoint(checkpoint, order.path, order.if_there, progress));
  control::Exported exported;
  exported.set_guest(order.source.guest.name());
  exported.set_epoch(checkpoint.about().epoch());
  exported.set_committed_unix_us(checkpoint.about().committed_unix_us());
  exported.set_path(order.path);
  exported.set_bytes(counts.bytes);
  exported.set_pages(counts.pages);
  exported.set_chunks(counts.chunks);
  return exported;
}

}  // namespace understudy::failover
