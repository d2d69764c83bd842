// Reliable, ordered delivery of messages over packets that may be lost, repeated or reordered.
// Pure: time is a parameter, packets are headers and spans. PROTOCOL.md draws it; the manner is
// QUIC's (RFC 9000, 9002).
//
// Outwards: `send` messages; while `has_packet`, take one, seal it and send it. Inwards: `classify`
// a packet by its header, which may be forged; open it; then `accept` or `hold` it. Nothing changes
// before that. Packets that were sent twice by somebody else are harmless: each says what was true
// when it was sent, and all of that only grows.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "replication/segment_receiver.hpp"
#include "replication/segment_sender.hpp"

namespace understudy::replication {

/// One thread.
class DatagramChannel {
 public:
  struct Plan {
    ConnectionId connection;
    std::size_t datagram_bytes;  ///< of the port; limits::datagram_bytes_min or more
    std::size_t room;            ///< segments that the peer may send ahead
    bool sealed;
    bool answering;
  };

  DatagramChannel(const Plan& plan, TimePoint at);

  // --- messages to the peer

  [[nodiscard]] bool accepts() const { return sender_.accepts(); }
  [[nodiscard]] bool half_free() const { return sender_.half_free(); }
  /// Its bytes must stay until the peer can have answered to it.
  void send(std::span<const std::byte> message) { sender_.send(message); }
  void send_copy(std::span<const std::byte> message) { sender_.send_copy(message); }
  /// No message follows.
  void end() { sender_.end(); }
  [[nodiscard]] bool all_left() const { return sender_.all_left(); }

  // --- packets to the peer

  struct Outgoing {
    PacketHeader header;
    std::span<const std::byte> payload;  ///< until the next call
  };
  [[nodiscard]] bool has_packet(TimePoint at) const;
  /// It leaves now. `has_packet` was asked.
  [[nodiscard]] Outgoing take_packet(TimePoint at);
  /// The last one: tells the peer that nothing more is heard or said.
  [[nodiscard]] PacketHeader close_packet();
  /// Probes until there is an answer.
  void ask() { sender_.ask(); }
  /// An ack leaves next.
  void answer_now(TimePoint at) { receiver_.answer_now(at); }
  /// When `has_packet` will be true, as it looks now.
  [[nodiscard]] std::optional<TimePoint> wake_at() const;

  // --- packets from the peer

  enum class Arrival : std::uint8_t {
    ignored,  ///< not for us, too old, or not allowed
    next,     ///< data: may be delivered at once
    early,    ///< data: to be held
    other,    ///< repeated data, or no data
  };
  [[nodiscard]] Arrival classify(const PacketHeader& header) const;

  /// It was opened. `next`: deliver it after this. An Error: what it says cannot be.
  [[nodiscard]] Result<> accept(const PacketHeader& header, std::span<const std::byte> payload,
                                TimePoint at);
  /// The same for data that is early, or that cannot be delivered now.
  [[nodiscard]] Result<> hold(const PacketHeader& header, DatagramPointer datagram, TimePoint at);
  /// What was held and can be delivered now, in order.
  [[nodiscard]] std::optional<HeldSegment> take_held() { return receiver_.take_held(); }
  void set_room(std::size_t segments) { receiver_.set_room(segments); }

  [[nodiscard]] std::uint64_t resent() const { return sender_.resent(); }
  [[nodiscard]] std::uint64_t probes() const { return sender_.probes(); }
  [[nodiscard]] std::size_t window() const { return sender_.window(); }

 private:
  [[nodiscard]] PacketHeader new_header(PacketKind kind);
  [[nodiscard]] Outgoing take_ack(TimePoint at);
  [[nodiscard]] Outgoing take_segment(TimePoint at);
  [[nodiscard]] Result<> hear(const PacketHeader& header, std::span<const std::byte> held,
                              TimePoint at);

  Plan plan_;
  PacketNumber next_number_{1};
  SegmentSender sender_;
  SegmentReceiver receiver_;
  std::vector<std::byte> held_;  ///< payload of an ack
};

}  // namespace understudy::replication
