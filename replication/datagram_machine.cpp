#include "replication/datagram_machine.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "config/assert.hpp"
#include "replication/checksum_records.hpp"

namespace understudy::replication {
namespace {

Error peer_closed() {
  return {ErrorKind::closed, "the peer closed the connection"};
}

DatagramChannel::Plan channel_plan(const DatagramMachine::Plan& plan, bool sealed) {
  return {.connection = plan.connection,
          .datagram_bytes = plan.port.datagram_bytes(),
          .room = plan.room,
          .sealed = sealed,
          .answering = plan.side == HandshakeSide::server};
}

/// Whether it is genuine; if so its payload is plain.
bool open_in_place(RecordOpener& opener, const Packet& packet) {
  if (!opener.begin(packet.header.number.value(), packet.header_bytes)) return false;
  opener.next(packet.payload, packet.payload);
  return opener.finish(packet.tag).has_value();
}

HeaderBytes head_of(std::span<const std::byte> bytes) {
  HeaderBytes head;
  std::memcpy(head.data(), bytes.data(), head.size());
  return head;
}

}  // namespace

LinkSecurity secured_by(std::shared_ptr<const Credentials> credentials) {
  if (!credentials) return {};
  return {
      .handshake =
          [credentials](HandshakeSide side) { return Handshake::begin(credentials, side); },
      .sealer = [](const TrafficSecret& secret) { return RecordSealer::create(secret); },
      .opener = [](const TrafficSecret& secret) { return RecordOpener::create(secret); },
      .vouch =
          [credentials](std::span<const std::byte> words) { return credentials->vouch(words); },
  };
}

DatagramMachine::DatagramMachine(Plan plan, TimePoint at)
    : plan_{std::move(plan)},
      clear_{DatagramChannel{channel_plan(plan_, false), at}, make_checksum_sealer(),
             make_checksum_opener()},
      sealed_{DatagramChannel{channel_plan(plan_, true), at}, nullptr, nullptr} {}

Result<std::unique_ptr<DatagramMachine>> DatagramMachine::begin(Plan plan, TimePoint at) {
  if (plan.port.datagram_bytes() < limits::datagram_bytes_min) {
    return fail(ErrorKind::incompatible, "the network carries {} bytes at once, {} are needed",
                plan.port.datagram_bytes(), limits::datagram_bytes_min);
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<DatagramMachine> machine{new DatagramMachine{std::move(plan), at}};
  if (machine->secured()) {
    UNDERSTUDY_TRY(machine->handshake_, machine->plan_.security.handshake(machine->plan_.side));
    UNDERSTUDY_CHECK(machine->go_on_with_handshake(at));
  }
  return machine;
}

// --- to the peer

void DatagramMachine::flush(TimePoint at) {
  starved_until_.reset();
  if (!clear_is_over()) flush(clear_, at);
  if (sealed_.sealer) flush(sealed_, at);
}

void DatagramMachine::flush(Lane& lane, TimePoint at) {
  while (lane.channel.has_packet(at)) {
    auto buffer = plan_.port.allocate();
    if (!buffer) {
      starved_until_ = at + limits::port_retry;
      return;
    }
    const auto bytes = write(lane, lane.channel.take_packet(at), buffer->bytes());
    plan_.port.send(plan_.peer, std::move(buffer), bytes);
  }
}

/// The only copy on this side: from where the frame is kept into the device's memory.
std::size_t DatagramMachine::write(Lane& lane, const DatagramChannel::Outgoing& packet,
                                   std::span<std::byte> to) const {
  const auto header = encode_packet_header(packet.header);
  std::ranges::copy(header, to.begin());
  const std::array pieces{packet.payload};
  lane.sealer->seal(packet.header.number.value(), header, pieces,
                    to.subspan(header.size(), packet.payload.size() + RecordSealer::tag_bytes));
  return limits::datagram_overhead + packet.payload.size();
}

std::optional<TimePoint> DatagramMachine::wake_at() const {
  if (starved_until_) return starved_until_;
  auto first = clear_is_over() ? std::nullopt : clear_.channel.wake_at();
  const auto second = sealed_.sealer ? sealed_.channel.wake_at() : std::nullopt;
  if (first && second) return std::min(*first, *second);
  return first ? first : second;
}

bool DatagramMachine::between_frames() const {
  return !assembler_.inside() && app().channel.all_left();
}

DatagramMachine::Farewell DatagramMachine::close() {
  Farewell farewell;
  for (auto* lane : {&clear_, &sealed_}) {
    if (!lane->sealer || (lane == &clear_ && clear_is_over())) continue;
    std::vector<std::byte> bytes(limits::datagram_overhead);
    static_cast<void>(write(*lane, {lane->channel.close_packet(), {}}, bytes));
    if (auto buffer = plan_.port.allocate()) {
      std::ranges::copy(bytes, buffer->bytes().begin());
      plan_.port.send(plan_.peer, std::move(buffer), bytes.size());
    }
    farewell.push_back(std::move(bytes));
  }
  return farewell;
}

// --- from the peer

/// A peer that was started anew knows the cluster's key, but none of the connection's.
bool DatagramMachine::peer_forgot(const Packet& packet) const {
  return packet.header.connection == plan_.connection &&
         packet.header.answering == (plan_.side == HandshakeSide::client) &&
         vouched(plan_.security.vouch, plan_.peer, plan_.port.address(), packet);
}

DatagramMachine::Lane* DatagramMachine::lane_of(const PacketHeader& header, TimePoint at) {
  if (header.sealed) return sealed_.opener ? &sealed_ : nullptr;
  if (!clear_is_over()) return &clear_;
  // Perhaps the peer does not know yet that the handshake is over.
  sealed_.channel.answer_now(at);
  return nullptr;
}

Result<std::optional<DatagramMachine::Frame>> DatagramMachine::on_datagram(DatagramPointer datagram,
                                                                           LinkEvents* events,
                                                                           TimePoint at) {
  using Arrival = DatagramChannel::Arrival;
  const auto packet = decode_packet(datagram->bytes());
  if (!packet) return std::nullopt;
  if (packet->header.kind == PacketKind::gone) {
    if (!peer_forgot(*packet)) return std::nullopt;
    return fail(ErrorKind::closed, "the peer does not know the connection: it was started anew");
  }
  auto* lane = lane_of(packet->header, at);
  if (lane == nullptr) return std::nullopt;
  const auto arrival = lane->channel.classify(packet->header);
  if (arrival == Arrival::ignored) return std::nullopt;
  const bool in_turn = arrival == Arrival::next && lane == &app();
  if (in_turn && events != nullptr) return open_to_place(*packet, *events, at);

  if (!open_in_place(*lane->opener, *packet)) return std::nullopt;
  if (lane == &sealed_) proven_ = true;
  received_bytes_ += packet->payload.size();
  if (packet->header.kind == PacketKind::close) return fail(peer_closed());
  if (in_turn || arrival == Arrival::early) {
    UNDERSTUDY_CHECK(lane->channel.hold(packet->header, std::move(datagram), at));
    return std::nullopt;
  }
  UNDERSTUDY_CHECK(lane->channel.accept(packet->header, packet->payload, at));
  if (arrival == Arrival::next) UNDERSTUDY_CHECK(shake(packet->payload, at));
  return std::nullopt;
}

/// The only copy on this side: from the device's memory to where the frame belongs.
Result<std::optional<DatagramMachine::Frame>> DatagramMachine::open_to_place(const Packet& packet,
                                                                             LinkEvents& events,
                                                                             TimePoint at) {
  const auto& header = packet.header;
  auto& lane = app();
  if (!lane.opener->begin(header.number.value(), packet.header_bytes)) return std::nullopt;
  auto body = packet.payload;
  auto target = [&]() -> Result<FrameAssembler::Target> {
    if (header.end) return FrameAssembler::Target{};
    if (!header.first) return assembler_.go_on(body.size());
    if (body.size() < limits::frame_header_bytes) {
      return fail(ErrorKind::protocol, "a frame whose header is cut");
    }
    const auto head = body.first<limits::frame_header_bytes>();
    lane.opener->next(head, head);
    body = body.subspan(head.size());
    return assembler_.begin(head_of(head), body.size(), events);
  }();
  lane.opener->next(body, target ? target->to : body);
  if (!lane.opener->finish(packet.tag)) return std::nullopt;
  if (&lane == &sealed_) proven_ = true;
  received_bytes_ += packet.payload.size();
  UNDERSTUDY_CHECK(lane.channel.accept(header, {}, at));
  if (!target) return fail(target.error());
  return took(header, *target);
}

Result<std::optional<DatagramMachine::Frame>> DatagramMachine::next(LinkEvents& events) {
  while (const auto held = app().channel.take_held()) {
    const auto packet = decode_packet(held->datagram->bytes());
    UNDERSTUDY_ASSERT(packet.has_value(), "it was decoded before it was held");
    FrameAssembler::Target target;
    std::span<const std::byte> body = packet->payload;
    if (held->header.first) {
      if (body.size() < limits::frame_header_bytes) {
        return fail(ErrorKind::protocol, "a frame whose header is cut");
      }
      const auto head = head_of(body);
      body = body.subspan(head.size());
      UNDERSTUDY_TRY(target, assembler_.begin(head, body.size(), events));
    } else if (!held->header.end) {
      UNDERSTUDY_TRY(target, assembler_.go_on(body.size()));
    }
    std::ranges::copy(body, target.to.begin());
    UNDERSTUDY_TRY(auto frame, took(held->header, target));
    if (frame) return frame;
  }
  return std::nullopt;
}

Result<std::optional<DatagramMachine::Frame>> DatagramMachine::took(
    const PacketHeader& header, const FrameAssembler::Target& target) {
  if (header.end) return fail(peer_closed());
  return assembler_.took(target,
                         header.last ? FrameAssembler::Part::last : FrameAssembler::Part::not_last);
}

// --- the handshake

Result<> DatagramMachine::shake(std::span<const std::byte> bytes, TimePoint at) {
  UNDERSTUDY_CHECK(hear_handshake(bytes, at));
  while (const auto held = clear_.channel.take_held()) {
    const auto packet = decode_packet(held->datagram->bytes());
    UNDERSTUDY_ASSERT(packet.has_value(), "it was decoded before it was held");
    UNDERSTUDY_CHECK(hear_handshake(packet->payload, at));
  }
  return go_on_with_handshake(at);
}

Result<> DatagramMachine::hear_handshake(std::span<const std::byte> bytes, TimePoint at) {
  if (handshake_->done() || bytes.empty()) return {};
  const auto heard = handshake_->on_bytes(bytes);
  if (heard) return {};
  // The peer shall know what is wrong, too: its operator may be the one to act.
  const auto alert = handshake_->take_output();
  if (!alert.empty() && clear_.channel.accepts()) clear_.channel.send_copy(alert);
  flush(clear_, at);
  return heard;
}

Result<> DatagramMachine::go_on_with_handshake(TimePoint at) {
  if (const auto output = handshake_->take_output(); !output.empty()) {
    if (!clear_.channel.accepts()) {
      return fail(ErrorKind::protocol, "the peer's handshake does not come to an end");
    }
    clear_.channel.send_copy(output);
  }
  if (!handshake_->done() || sealed_.sealer) return {};
  UNDERSTUDY_TRY(const auto keys, handshake_->keys());
  UNDERSTUDY_TRY(sealed_.sealer, plan_.security.sealer(keys.ours));
  UNDERSTUDY_TRY(sealed_.opener, plan_.security.opener(keys.theirs));
  // The peer's answer proves that it has the keys; ours to its question proves it to the peer.
  sealed_.channel.ask();
  sealed_.channel.answer_now(at);
  return {};
}

}  // namespace understudy::replication
