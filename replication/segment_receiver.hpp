// One direction's receiving end: which segments have come, what is said of it, and when. Pure.
//
// Segments leave it in order. Those that come early wait in the device's own memory, at most as
// many as the peer was allowed to send; that allowance only grows.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "config/clock.hpp"
#include "replication/datagram_packet.hpp"
#include "replication/datagram_port.hpp"

namespace understudy::replication {

/// A segment that waits for its turn, opened, in the buffer that it came in.
struct HeldSegment {
  PacketHeader header;
  DatagramPointer datagram;
};

/// One thread.
class SegmentReceiver {
 public:
  explicit SegmentReceiver(std::size_t room);

  enum class Arrival : std::uint8_t {
    next,      ///< may be delivered at once
    early,     ///< to be held
    repeated,  ///< is here already
    beyond,    ///< was not allowed
  };
  [[nodiscard]] Arrival classify(SegmentNumber segment) const;

  /// Not more often than this may come what nobody saw: a packet within the window of numbers.
  [[nodiscard]] bool plausible(PacketNumber number) const;

  /// A packet has come whole. `wants_answer`: it is not only an ack.
  enum class Wants : std::uint8_t { nothing, ack, ack_now };
  void on_packet(PacketNumber number, Wants wants, TimePoint at);

  /// The next segment has come and is delivered by the caller.
  void delivered();
  /// Also for the next segment, if it cannot be delivered now.
  void hold(HeldSegment segment);
  /// The next segment, if it is here; it counts as delivered.
  [[nodiscard]] std::optional<HeldSegment> take_held();

  /// How many may be sent ahead of the last one delivered. Never takes an allowance back.
  void set_room(std::size_t segments);

  [[nodiscard]] bool ack_due(TimePoint at) const { return ack_at_ && at >= *ack_at_; }
  /// Only an ack packet can say what is held, a data packet cannot.
  [[nodiscard]] bool gap() const { return expected_.value() - next_.value() != held_.size(); }
  [[nodiscard]] std::optional<TimePoint> ack_at() const { return ack_at_; }
  void answer_now(TimePoint at) { ack_at_ = at; }

  /// Fills in `acked`, `limit`, `newest` and `delay_us`: it leaves now. All is said with it, unless
  /// there is a gap and `held` is null, which takes what is held behind it.
  void say(PacketHeader& header, std::vector<std::byte>* held, TimePoint at);

  /// Segments before this one have come.
  [[nodiscard]] SegmentNumber expected() const { return expected_; }

 private:
  std::size_t room_;
  SegmentNumber next_;      ///< to be delivered
  SegmentNumber expected_;  ///< the first that has not come; not before next_
  SegmentNumber limit_{limits::channel_first_segments};
  std::map<SegmentNumber, HeldSegment> held_;

  PacketNumber newest_;
  TimePoint newest_at_;
  std::size_t unanswered_{};
  std::optional<TimePoint> ack_at_;
};

}  // namespace understudy::replication
