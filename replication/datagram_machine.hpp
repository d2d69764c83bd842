// One end of a connection over datagrams, without a thread or a clock: frames in, packets out, and
// back. What a DatagramLink runs, and a simulation.
//
// With security there are two channels one after the other: one in the clear, which carries nothing
// but the handshake, and one under its keys, which carries everything else. They share nothing, so
// that nothing said in the clear counts later. The first packet that opens under the new keys
// proves that the peer has them; then the clear channel is done with.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "replication/datagram_channel.hpp"
#include "replication/datagram_port.hpp"
#include "replication/frame_assembler.hpp"
#include "replication/security.hpp"
#include "replication/vouching.hpp"

namespace understudy::replication {

/// How a connection comes by its keys. Empty: it is in the clear.
struct LinkSecurity {
  std::function<Result<std::unique_ptr<Handshake>>(HandshakeSide)> handshake;
  std::function<Result<std::unique_ptr<RecordSealer>>(const TrafficSecret&)> sealer;
  std::function<Result<std::unique_ptr<RecordOpener>>(const TrafficSecret&)> opener;
  Vouch vouch{};
};

/// By the cluster's key; empty for no credentials.
[[nodiscard]] LinkSecurity secured_by(std::shared_ptr<const Credentials> credentials);

/// One thread at a time; may be handed over between calls.
class DatagramMachine {
 public:
  struct Plan {
    DatagramPort& port;  ///< outlives the machine
    HostAddress peer;
    ConnectionId connection;
    HandshakeSide side;  ///< `client`: we dialled
    std::size_t room;    ///< segments that the peer may send ahead
    LinkSecurity security;
  };
  using Frame = FrameAssembler::Frame;
  /// The last packets of a connection, as they were sent, to be sent again to a peer that goes on.
  using Farewell = std::vector<std::vector<std::byte>>;

  [[nodiscard]] static Result<std::unique_ptr<DatagramMachine>> begin(Plan plan, TimePoint at);

  /// As Link says; what waits for the handshake waits in the same queue.
  [[nodiscard]] bool accepts() const { return app().channel.accepts(); }
  [[nodiscard]] bool half_free() const { return app().channel.half_free(); }
  void send(std::span<const std::byte> frame) { app().channel.send(frame); }
  void send_copy(std::span<const std::byte> frame) { app().channel.send_copy(frame); }
  /// No frame follows; the peer will notice.
  void end() { app().channel.end(); }

  /// Sends what may be sent now. After every call that may have changed something.
  void flush(TimePoint at);
  /// When `flush` will be due, as it looks now.
  [[nodiscard]] std::optional<TimePoint> wake_at() const;

  /// Gives a frame if the datagram completed one. `events` is only asked for places, perhaps for a
  /// datagram that turns out to be forged; nullptr: nothing can be delivered now, all is kept. An
  /// Error is the end of the connection. Then `next`, until it gives nothing.
  [[nodiscard]] Result<std::optional<Frame>> on_datagram(DatagramPointer datagram,
                                                         LinkEvents* events, TimePoint at);
  /// The next frame out of what had come early.
  [[nodiscard]] Result<std::optional<Frame>> next(LinkEvents& events);
  void set_room(std::size_t segments) { app().channel.set_room(segments); }
  /// Tells the peer how much it may send now that what was kept is delivered.
  void answer_now(TimePoint at) { app().channel.answer_now(at); }

  /// A frame is complete only in part, or something waits to leave for the first time.
  [[nodiscard]] bool between_frames() const;

  /// Tells the peer. Nothing else may be called after it.
  [[nodiscard]] Farewell close();

  [[nodiscard]] std::uint64_t received_bytes() const { return received_bytes_; }
  [[nodiscard]] const DatagramChannel& channel() const { return app().channel; }

 private:
  struct Lane {
    DatagramChannel channel;
    std::unique_ptr<RecordSealer> sealer;
    std::unique_ptr<RecordOpener> opener;
  };

  DatagramMachine(Plan plan, TimePoint at);
  [[nodiscard]] Lane& app() { return secured() ? sealed_ : clear_; }
  [[nodiscard]] const Lane& app() const { return secured() ? sealed_ : clear_; }
  [[nodiscard]] bool secured() const { return plan_.security.handshake != nullptr; }
  [[nodiscard]] bool clear_is_over() const { return secured() && proven_; }

  void flush(Lane& lane, TimePoint at);
  [[nodiscard]] std::size_t write(Lane& lane, const DatagramChannel::Outgoing& packet,
                                  std::span<std::byte> to) const;
  [[nodiscard]] bool peer_forgot(const Packet& packet) const;
  [[nodiscard]] Lane* lane_of(const PacketHeader& header, TimePoint at);
  [[nodiscard]] Result<std::optional<Frame>> open_to_place(const Packet& packet, LinkEvents& events,
                                                           TimePoint at);
  [[nodiscard]] Result<std::optional<Frame>> took(const PacketHeader& header,
                                                  const FrameAssembler::Target& target);
  [[nodiscard]] Result<> shake(std::span<const std::byte> bytes, TimePoint at);
  [[nodiscard]] Result<> hear_handshake(std::span<const std::byte> bytes, TimePoint at);
  [[nodiscard]] Result<> go_on_with_handshake(TimePoint at);

  Plan plan_;
  Lane clear_;
  Lane sealed_;
  std::unique_ptr<Handshake> handshake_;
  bool proven_{};  ///< the peer has the keys
  FrameAssembler assembler_;
  std::optional<TimePoint> starved_until_;  ///< the port had no buffer
  std::uint64_t received_bytes_{};
};

}  // namespace understudy::replication
