// The record book's memory on disk. Survives the death of the process and of the host's power.
#pragma once

#include <string>

#include "config/durable_file.hpp"
#include "config/result.hpp"
#include "failover/peer.pb.h"

namespace understudy::failover {

/// One thread.
class RecordStore {
 public:
  /// Makes the directory (0700). Errors name it and the remedy.
  [[nodiscard]] static Result<RecordStore> open(const std::string& directory);

  /// What was stored last; nothing when there is none yet. A file that cannot be read or does not
  /// bear its checksum is kept aside, and gives a memory that is `damaged`: never an empty one.
  [[nodiscard]] peer::Memory load();

  /// Durable when it has returned. Costs nothing if nothing has changed.
  [[nodiscard]] Result<> save(const peer::Memory& memory);

  [[nodiscard]] const std::string& path() const { return file_.path(); }

 private:
  explicit RecordStore(const std::string& directory);

  DurableFile file_;
  std::string stored_;  ///< what the file holds
};

}  // namespace understudy::failover
