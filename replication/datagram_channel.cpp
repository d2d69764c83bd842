#include "replication/datagram_channel.hpp"

#include <algorithm>
#include <utility>

#include "config/assert.hpp"

namespace understudy::replication {

DatagramChannel::DatagramChannel(const Plan& plan, TimePoint at)
    : plan_{plan},
      sender_{plan.datagram_bytes - limits::datagram_overhead, at},
      receiver_{plan.room} {
  held_.reserve(limits::channel_segments / 8);
}

PacketHeader DatagramChannel::new_header(PacketKind kind) {
  return {.kind = kind,
          .sealed = plan_.sealed,
          .answering = plan_.answering,
          .connection = plan_.connection,
          .number = std::exchange(next_number_, next_number_.next())};
}

bool DatagramChannel::has_packet(TimePoint at) const {
  return receiver_.ack_due(at) || sender_.has_segment() || sender_.probe_due(at);
}

DatagramChannel::Outgoing DatagramChannel::take_packet(TimePoint at) {
  // An ack that names a gap is worth more than data, and data carries any other ack for nothing.
  if (receiver_.ack_due(at) && receiver_.gap()) return take_ack(at);
  if (sender_.has_segment()) return take_segment(at);
  if (!sender_.probe_due(at)) return take_ack(at);
  auto header = new_header(PacketKind::probe);
  receiver_.say(header, nullptr, at);
  sender_.probed(header.number, at);
  return {header, {}};
}

DatagramChannel::Outgoing DatagramChannel::take_ack(TimePoint at) {
  auto header = new_header(PacketKind::ack);
  receiver_.say(header, &held_, at);
  header.payload_bytes = static_cast<std::uint32_t>(held_.size());
  return {header, held_};
}

DatagramChannel::Outgoing DatagramChannel::take_segment(TimePoint at) {
  auto header = new_header(PacketKind::data);
  const auto segment = sender_.take_segment(header.number, at);
  header.sequence = segment.sequence;
  header.first = segment.first;
  header.last = segment.last;
  header.end = segment.end;
  header.payload_bytes = static_cast<std::uint32_t>(segment.bytes.size());
  receiver_.say(header, nullptr, at);
  return {header, segment.bytes};
}

PacketHeader DatagramChannel::close_packet() {
  return new_header(PacketKind::close);
}

std::optional<TimePoint> DatagramChannel::wake_at() const {
  const auto ack = receiver_.ack_at();
  const auto probe = sender_.probe_at();
  if (ack && probe) return std::min(*ack, *probe);
  return ack ? ack : probe;
}

DatagramChannel::Arrival DatagramChannel::classify(const PacketHeader& header) const {
  if (header.connection != plan_.connection || header.sealed != plan_.sealed ||
      header.answering == plan_.answering || !receiver_.plausible(header.number)) {
    return Arrival::ignored;
  }
  if (header.kind != PacketKind::data) {
    return header.kind <= PacketKind::close ? Arrival::other : Arrival::ignored;
  }
  switch (receiver_.classify(header.sequence)) {
    case SegmentReceiver::Arrival::next: return Arrival::next;
    case SegmentReceiver::Arrival::early: return Arrival::early;
    case SegmentReceiver::Arrival::repeated: return Arrival::other;
    case SegmentReceiver::Arrival::beyond: break;
  }
  return Arrival::ignored;
}

Result<> DatagramChannel::hear(const PacketHeader& header, std::span<const std::byte> held,
                               TimePoint at) {
  return sender_.on_ack({.acked = header.acked,
                         .newest = header.newest,
                         .limit = header.limit,
                         .delay = microseconds{header.delay_us},
                         .held = held},
                        next_number_, at);
}

Result<> DatagramChannel::accept(const PacketHeader& header, std::span<const std::byte> payload,
                                 TimePoint at) {
  using Wants = SegmentReceiver::Wants;
  const bool data = header.kind == PacketKind::data;
  if (header.kind == PacketKind::close) return {};
  UNDERSTUDY_CHECK(hear(header, data ? std::span<const std::byte>{} : payload, at));
  const bool next = data && receiver_.classify(header.sequence) == SegmentReceiver::Arrival::next;
  // What closes a gap or came before ends somebody's waiting.
  const bool now = header.kind == PacketKind::probe || (data && (!next || receiver_.gap()));
  receiver_.on_packet(header.number, now ? Wants::ack_now : data ? Wants::ack : Wants::nothing, at);
  if (next) receiver_.delivered();
  return {};
}

Result<> DatagramChannel::hold(const PacketHeader& header, DatagramPointer datagram, TimePoint at) {
  UNDERSTUDY_CHECK(hear(header, {}, at));
  receiver_.on_packet(header.number, SegmentReceiver::Wants::ack_now, at);
  receiver_.hold({header, std::move(datagram)});
  return {};
}

}  // namespace understudy::replication
