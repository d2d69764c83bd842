// Checkpoint files (checkpoint_codec.hpp) on this host's disks: written whole or not there, and
// read with every sum checked.
#pragma once

#include <functional>
#include <string>
#include <system_error>

#include "checkpointer/checkpoint_codec.hpp"

namespace understudy::checkpointer {

/// A guest at one moment. It stands still while it is written: all of it is of one epoch.
class CheckpointSource {
 public:
  virtual ~CheckpointSource() = default;
  [[nodiscard]] virtual const Checkpoint& about() const = 0;
  [[nodiscard]] virtual std::span<const std::byte> devices() const = 0;
  /// All RAM blocks, in the order of the layout.
  [[nodiscard]] virtual std::span<const std::byte> memory() const = 0;
  /// False: a page of zeros, which is not looked at (and not allocated, if it is in a file).
  [[nodiscard]] virtual bool may_hold(PageIndex /*page*/) const { return true; }
  [[nodiscard]] virtual std::error_code read_disk(std::size_t disk, std::uint64_t offset,
                                                  std::span<std::byte> out) = 0;
  /// The first place at or after `offset` that may hold anything but zeros; at the end: none.
  [[nodiscard]] virtual std::uint64_t next_data(std::size_t disk, std::uint64_t offset) = 0;
};

enum class IfThere : std::uint8_t { refuse, replace };

/// How the work may go on; called often, on the thread that works.
struct CheckpointProgress {
  /// What is done, and of which part of the memory and disks, 0 to 1.
  std::function<void(const std::string& step, double fraction)> tell;
  /// An error ends the work, and is its outcome.
  std::function<Result<>()> go_on;
  /// Rests for so many times as long as it used a processor: others need it.
  int rest{};
};

/// Whether a file can be written there at all; the errors say what to do. `path` is absolute.
[[nodiscard]] Result<> check_checkpoint_path(const std::string& path, IfThere if_there);

/// Durable, under its name, when it returns; until then it has none, and goes with the process.
/// Mode 0600. Leaves limits::clone_disk_reserve of the file system free. Blocks.
[[nodiscard]] Result<CheckpointCounts> write_checkpoint(CheckpointSource& source,
                                                        const std::string& path, IfThere if_there,
                                                        const CheckpointProgress& progress);

/// Gives all of it to the sink, which knows only at the end whether the file was whole. Blocks.
[[nodiscard]] Result<CheckpointCounts> read_checkpoint(const std::string& path,
                                                       CheckpointSink& sink,
                                                       const CheckpointProgress& progress);

/// The whole file is read, and is as it was written.
[[nodiscard]] Result<Checkpoint> check_checkpoint(const std::string& path,
                                                  const CheckpointProgress& progress);

}  // namespace understudy::checkpointer
