// How much may be on its way to a peer, and how long an answer takes. Pure.
//
// Slow start, then additive increase and multiplicative decrease, as in RFC 9002 with the factor of
// CUBIC; counted in packets, for what overflows on the way are slots of a ring.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>

#include "config/clock.hpp"
#include "replication/datagram_packet.hpp"

namespace understudy::replication {

/// One thread.
class CongestionWindow {
 public:
  [[nodiscard]] std::size_t packets() const { return packets_; }

  /// Grows, if as much was in flight as was allowed: else nothing was learned.
  void on_arrived(std::size_t packets, std::size_t in_flight_before);
  /// Shrinks, but once for all that were in flight together. `next`: the number of the next packet.
  void on_lost(PacketNumber lost, PacketNumber next);
  /// Nothing was heard for long: all may be different.
  void on_silence();

 private:
  std::size_t packets_{limits::channel_window_first};
  std::size_t slow_start_until_{limits::channel_segments};
  std::size_t arrived_{};    ///< since it grew last
  PacketNumber recovering_;  ///< what was sent before this one is of the round that had a loss
};

/// RFC 9002, section 5 and 6.2. One thread.
class RoundTrip {
 public:
  /// `delay`: what the peer says that it waited before it answered.
  void measured(Duration round_trip, Duration delay);
  /// After this long without an answer something may be lost: ask.
  [[nodiscard]] Duration patience() const;
  [[nodiscard]] std::optional<Duration> smoothed() const { return smoothed_; }

 private:
  std::optional<Duration> smoothed_;
  Duration variation_{};
  Duration least_{};
};

}  // namespace understudy::replication
