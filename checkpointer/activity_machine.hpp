// Which extents of this host's images may differ from the other host's of their pair: what is to be
// logged before a write, and what may leave the log. Pure.
//
// An extent may go when all of these hold:
//   no write to it is under way
//   the backup has every write to it on its disk
//   this host's own image has, too: a page cache is lost with the power
// and, so that an extent in use is not logged again and again, nothing has touched it for a while.
// So a working set of any size costs one flush of the log for each extent, and the time since a
// write bounds what a crash leaves in doubt.
#pragma once

#include <map>
#include <set>
#include <span>
#include <vector>

#include "checkpointer/activity_codec.hpp"
#include "config/clock.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

/// What a write has left in the image.
enum class WriteEnd : std::uint8_t {
  known,   ///< the backup will have the same
  unknown  ///< it failed: nobody knows but the next synchronisation
};

class ActivityMachine {
 public:
  /// Before a write: nobody removes these until `end`.
  void begin(std::span<const Extent> extents);
  void end(std::span<const Extent> extents, WriteEnd how, TimePoint now);

  /// Whether all of them are in the log's file.
  [[nodiscard]] bool logged(std::span<const Extent> extents) const;
  /// What is not.
  [[nodiscard]] std::vector<Extent> unlogged() const;
  void now_logged(std::span<const Extent> extents);

  /// A synchronisation begins: what was written until now will be there with epoch 1.
  void begin_session();
  /// Writes from now on belong to this epoch, or to an earlier one.
  void run(Epoch epoch) { running_ = epoch; }

  /// A flush of the own images that begins after this covers every write that had ended.
  [[nodiscard]] std::uint64_t moment() const { return moment_; }
  struct Safe {
    Epoch backup;           ///< has these on its disk
    std::uint64_t here{};   ///< a moment before the last flush
    TimePoint cold_before;  ///< touched last
  };
  [[nodiscard]] std::vector<Extent> removable(const Safe& safe) const;
  void remove(std::span<const Extent> extents);
  /// All but those under way.
  void clear();
  /// Takes over what a file had.
  void restore(std::span<const Extent> extents);

  [[nodiscard]] std::vector<Extent> marked() const;  ///< ascending
  [[nodiscard]] std::size_t size() const { return extents_.size(); }

 private:
  struct State {
    std::uint32_t under_way{};
    bool unknown{};
    bool logged{};
    Epoch last;
    std::uint64_t moment{};
    TimePoint touched;
  };
  std::map<Extent, State> extents_;
  std::set<Extent> unlogged_;
  Epoch running_{1};
  std::uint64_t moment_{};
};

}  // namespace understudy::checkpointer
