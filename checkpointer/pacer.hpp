// When to seal the running epoch. Pure.
//
// Three forces: an epoch lasts at most `interval`; output that waits asks for a commit sooner; and
// pausing must not eat the guest's time, unless its output has no room: then it waits anyway. A
// guest that has nothing to do has no time to lose: those to whom it has answered ask the next
// question only when they hear of it, so output that waits is then committed at once. When
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
  bool idle{};     ///< the guest has nothing to do now; known from `idle_matters` on
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

  /// Whether it is of use to know if the guest is idle.
  [[nodiscard]] bool idle_matters(const Pace& pace) const;

  /// Tells how long the guest was paused for an epoch.
  void paused(Duration pause);

  /// The epoch's length that leaves the guest its share of time.
  [[nodiscard]] Duration shortest() const { return shares(guest_share); }

 private:
  /// The guest runs at least this many times as long as it is paused. Measured, with pgbench and
  /// pauses of 1.3 ms: 6 costs a tenth of the transactions that 12 lets through, 18 gains nothing.
  static constexpr int guest_share = 12;
  static constexpr int idle_share = 2;  ///< the same for a guest that idles: work comes at any time
  static constexpr Duration look = milliseconds{1};  ///< how often whether it idles
  static constexpr int stretch = 4;  ///< intervals, before a slow backup stalls the guest

  [[nodiscard]] Duration shares(int share) const;

  PacerSettings settings_;
  Duration typical_pause_{};
};

}  // namespace understudy::checkpointer
