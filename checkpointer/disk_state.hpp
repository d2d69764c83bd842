// What this host knows of its own images of a guest: whether they are worth booting from. On disk,
// beside the record of who may run.
//
//   none → active          the guest was started from what the operator put there
//   any → incomplete       this host becomes a backup: its images are being written over
//   incomplete → replica   the first epoch is on disk: from now on they are at an epoch's boundary
//   replica → active       promoted
#pragma once

#include <string>

#include "config/durable_file.hpp"
#include "config/result.hpp"

namespace understudy::checkpointer {

enum class ImageState : std::uint8_t { unknown, active, incomplete, replica };

/// What an operator who starts a guest says of its images.
enum class DiskTrust : std::uint8_t { checked, accepted };

/// One thread at a time.
class DiskState {
 public:
  /// `directory` is made when something is saved.
  DiskState(const std::string& directory, std::string guest);

  /// `invalid` when there is a file that cannot be understood.
  [[nodiscard]] Result<ImageState> load() const;
  /// Durable when it returns.
  [[nodiscard]] Result<> save(ImageState state) const;
  /// Whether the guest may be booted from the images here; the error says why not and what to do.
  [[nodiscard]] Result<> may_start() const;

  /// Where the backup's journal of these images lies.
  [[nodiscard]] std::string journal_path() const { return stem_ + ".journal"; }
  /// And what this host remembers of what was written to them (activity_log.hpp).
  [[nodiscard]] std::string log_path() const { return stem_ + ".log"; }

 private:
  std::string guest_;
  std::string stem_;
  DurableFile file_;
};

}  // namespace understudy::checkpointer
