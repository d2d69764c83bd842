// Writes a moment of a replica to a checkpoint file, while the protection of the real guest goes
// on: as a clone is made, but no machine is started.
#pragma once

#include <optional>
#include <string>

#include "checkpointer/clone_checkpoint.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

struct ExportOrder {
  checkpointer::CloneSource source;
  std::optional<checkpointer::HistoryWish> moment;  ///< nullopt: the newest commit
  std::string path;
  checkpointer::IfThere if_there;
  std::string directory;  ///< for temporary files
  checkpointer::CheckpointAuthor author;
};

/// Blocks. Takes a third of a processor.
[[nodiscard]] Result<control::Exported> export_checkpoint(
    const ExportOrder& order, checkpointer::CheckpointProgress progress);

}  // namespace understudy::failover
