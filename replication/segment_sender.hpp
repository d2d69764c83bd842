// One direction's sending end: cuts messages into segments, keeps those that have not arrived, and
// decides which to send when. Pure.
//
//   waiting --take--> flying --on_ack--> arrived
//                       |  ^
//                       v  '--take (again, under a new number)
//                      lost
//
// Lost is what packets that were sent later have overtaken: a few of them, or one probe. Time alone
// never makes a segment lost, it makes us ask: a peer that was not run for some milliseconds has
// all of it in its queue, and a second copy would overflow that queue.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "replication/congestion_window.hpp"
#include "replication/datagram_packet.hpp"

namespace understudy::replication {

/// What a packet says of our own direction.
struct PeerAck {
  SegmentNumber acked;
  PacketNumber newest;
  SegmentNumber limit;
  microseconds delay;
  std::span<const std::byte> held;  ///< a bit for each segment behind `acked`
};

/// One thread.
class SegmentSender {
 public:
  SegmentSender(std::size_t segment_bytes, TimePoint at);

  /// Room for a message: limits::link_queue_frames wait at most.
  [[nodiscard]] bool accepts() const;
  /// Of one that was full: half of it is free again.
  [[nodiscard]] bool half_free() const;
  /// Its bytes must stay until it has arrived.
  void send(std::span<const std::byte> message);
  void send_copy(std::span<const std::byte> message);
  /// No message follows.
  void end();
  /// All has left, once at least.
  [[nodiscard]] bool all_left() const { return unsent_ == segments_.size(); }

  struct Outgoing {
    SegmentNumber sequence;
    bool first;
    bool last;
    bool end;
    std::span<const std::byte> bytes;
  };
  [[nodiscard]] bool has_segment() const;
  /// It leaves now, as this packet.
  [[nodiscard]] Outgoing take_segment(PacketNumber number, TimePoint at);

  /// Whatever else is going on, wants an answer, and asks until it has one.
  void ask() { asking_ = true; }
  [[nodiscard]] bool probe_due(TimePoint at) const;
  void probed(PacketNumber number, TimePoint at);
  /// When a probe will be due, as it looks now.
  [[nodiscard]] std::optional<TimePoint> probe_at() const;

  /// `next`: the number of the next packet. What cannot be is an Error, and changes nothing.
  [[nodiscard]] Result<> on_ack(const PeerAck& ack, PacketNumber next, TimePoint at);

  [[nodiscard]] std::uint64_t resent() const { return resent_; }
  [[nodiscard]] std::uint64_t probes() const { return probe_count_; }
  [[nodiscard]] std::size_t window() const { return window_.packets(); }

 private:
  enum class State : std::uint8_t { waiting, flying, lost, arrived };
  struct Segment {
    std::vector<std::byte> copy{};  ///< empty if the owner keeps the bytes
    std::span<const std::byte> bytes{};
    bool first{};
    bool last{};
    bool end{};
    State state{};
    PacketNumber number{};  ///< as which it left last
  };
  struct Sent {
    PacketNumber number;
    SegmentNumber segment;
    TimePoint at;
  };
  struct Probe {
    PacketNumber number;
    TimePoint at;
  };

  template <class Make>
  void cut(std::span<const std::byte> message, Make make);
  [[nodiscard]] Segment* find(SegmentNumber number);
  [[nodiscard]] SegmentNumber unsent() const { return SegmentNumber{first_.value() + unsent_}; }
  [[nodiscard]] Result<> check(const PeerAck& ack, PacketNumber next) const;
  [[nodiscard]] std::size_t drop_before(SegmentNumber acked);
  [[nodiscard]] std::size_t mark_held(const PeerAck& ack);
  [[nodiscard]] bool arrived(Segment& segment);
  void measure(const PeerAck& ack, TimePoint at);
  [[nodiscard]] bool settled(const Sent& sent);
  void find_lost(PacketNumber newest, PacketNumber next);
  void skip_found();

  std::size_t segment_bytes_;
  std::deque<Segment> segments_;  ///< the first is number first_
  SegmentNumber first_;
  std::size_t unsent_{};  ///< index of the first that has never left
  std::size_t messages_unsent_{};
  bool ended_{};
  SegmentNumber limit_{limits::channel_first_segments};

  std::deque<Sent> sent_;           ///< by number; some have arrived or left again since
  std::deque<SegmentNumber> lost_;  ///< some may have arrived since
  std::size_t in_flight_{};
  CongestionWindow window_;

  RoundTrip round_trip_;
  std::deque<Probe> probes_;
  PacketNumber newest_;
  bool asking_{};
  int unanswered_{};
  TimePoint said_;
  std::uint64_t resent_{};
  std::uint64_t probe_count_{};
};

}  // namespace understudy::replication
