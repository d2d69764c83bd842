// When to seal the running epoch. Pure.
//
// Three forces: an epoch lasts at most `interval`; output that waits asks for a commit sooner; and
// pausing must not eat the guest's time, unless its output has no room: then it waits anyway. When
// the backup is slow, epochs get longer, up to `stretch` intervals, and then the guest is stalled:
// it stays paused until a commit makes room.
#pragma once

#include <optional>

#include "config/clock.hpp"

namespace understudy::checkpointer {

struct PacerSettings {
  Duration interval;
  Duration min_interval;
};

/// What the pacer knows of a moment.
struct Pace {
  TimePoint now;
  TimePoint resumed;                      ///< when the running epoch began
  std::optional<TimePoint> output_waits;  ///< since when the running epoch holds output
  bool room;                              ///< another epoch may be in flight
  bool link_up{true};
  bool pressed{};  ///< the running epoch fills the room for held output
};

class Pacer {
 public:
  explicit Pacer(PacerSettings settings) : settings_{settings} {}

  enum class Act : std::uint8_t { wait, seal, stall };
  struct Decision {
    Act act;
    TimePoint until;  ///< for `wait`: ask again then, or when something changes
  };
  [[nodiscard]] Decision decide(const Pace& pace) const;

  /// Tells how long the guest was paused for an epoch.
  void paused(Duration pause);

  /// The epoch's length that leaves the guest its share of time.
  [[nodiscard]] Duration shortest() const;

 private:
  /// The guest runs at least this many times as long as it is paused. Measured, with pgbench on a
  /// guest of 1 GiB: 4 costs a sixth of the transactions that 6 lets through, 8 to 12 delay
  /// replies.
  static constexpr int guest_share = 6;
  static constexpr int stretch = 4;  ///< intervals, before a slow backup stalls the guest

  PacerSettings settings_;
  Duration typical_pause_{};
};

}  // namespace understudy::checkpointer
