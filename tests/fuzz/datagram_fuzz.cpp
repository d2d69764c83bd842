// A peer that may say anything under a good checksum or none: a machine of either side takes any
// datagrams, asks for places only for frames that decode, and delivers only what holds. A host with
// a key gives few places to those who have none, and no answer is an amplifier.
#include <algorithm>
#include <array>
#include <deque>

#include "config/assert.hpp"
#include "fuzz_key.hpp"
#include "fuzz_targets.hpp"
#include "replication/checksum_records.hpp"
#include "replication/datagram_host.hpp"
#include "replication/datagram_machine.hpp"

namespace understudy::replication {
namespace {

class Buffer final : public DatagramBuffer {
 public:
  explicit Buffer(std::size_t bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class NowhereToPort final : public DatagramPort {
 public:
  HostAddress address() const override { return {}; }
  std::size_t datagram_bytes() const override { return limits::datagram_bytes_min; }
  std::size_t receive_room() const override { return 16; }
  DatagramPointer allocate() override { return std::make_unique<Buffer>(datagram_bytes()); }
  void send(const HostAddress& /*to*/, DatagramPointer datagram, std::size_t bytes) override {
    const auto packet = decode_packet(datagram->bytes().first(bytes));
    UNDERSTUDY_ASSERT(packet.has_value(), "what we send can be decoded");
    ++sent;
  }
  void start(DatagramEvents& whom) override { events = &whom; }
  void stop() override {}
  DatagramCounters counters() const override { return {}; }

  DatagramEvents* events{};
  std::size_t sent{};
};

class Places final : public LinkEvents {
 public:
  std::span<std::byte> place(const FrameHeader& header) override {
    UNDERSTUDY_ASSERT(header.payload_bytes <= limits::frame_payload_bytes, "lengths are checked");
    return place_;
  }
  void on_frame(const FrameHeader& /*header*/, std::span<const std::byte> /*payload*/) override {}
  void on_writable() override {}
  void on_down(Error /*reason*/) override {}

 private:
  std::vector<std::byte> place_ = std::vector<std::byte>(limits::frame_payload_bytes);
};

/// Puts a good checksum behind what else looks like a packet.
void make_genuine(std::span<std::byte> datagram) {
  if (datagram.size() < limits::datagram_overhead) return;
  const auto header = datagram.first(limits::datagram_header_bytes);
  const std::vector<std::byte> payload{
      datagram.begin() + limits::datagram_header_bytes,
      datagram.end() - static_cast<std::ptrdiff_t>(limits::datagram_tag_bytes)};
  const std::array<std::span<const std::byte>, 1> pieces{payload};
  make_checksum_sealer()->seal(0, header, pieces, datagram.subspan(limits::datagram_header_bytes));
}

}  // namespace

void fuzz_datagram_packet(std::span<const std::byte> input) {
  std::vector<std::byte> bytes{input.begin(), input.end()};
  const auto packet = decode_packet(bytes);
  if (!packet) return;
  UNDERSTUDY_ASSERT(packet->payload.size() == packet->header.payload_bytes, "sizes agree");
  const auto again = encode_packet_header(packet->header);
  UNDERSTUDY_ASSERT(std::ranges::equal(again, packet->header_bytes), "one form per header");
}

/// {how, length, bytes of a datagram} ...: `how` says genuine or not, and how much time passes.
void fuzz_datagram_machine(std::span<const std::byte> input) {
  NowhereToPort port;
  Places events;
  TimePoint at{seconds{1}};
  auto machine = DatagramMachine::begin({.port = port,
                                         .peer = {},
                                         .connection = ConnectionId{1},
                                         .side = HandshakeSide::server,
                                         .room = 16,
                                         .security = {}},
                                        at);
  UNDERSTUDY_ASSERT(machine.has_value(), "the port is large enough");
  const std::array<std::byte, 500> said{};
  for (int i = 0; i < 4; ++i) (*machine)->send(said);
  while (input.size() > 2) {
    const auto how = std::to_integer<unsigned>(input[0]);
    const auto length =
        std::min<std::size_t>(std::to_integer<std::size_t>(input[1]), input.size() - 2);
    auto datagram = std::make_unique<Buffer>(length);
    std::ranges::copy(input.subspan(2, length), datagram->bytes().begin());
    input = input.subspan(2 + length);
    if (how % 8 != 0) make_genuine(datagram->bytes());
    at += milliseconds{how / 8};
    auto* now_or_later = how % 16 == 1 ? nullptr : &events;
    auto frame = (*machine)->on_datagram(std::move(datagram), now_or_later, at);
    while (frame && now_or_later != nullptr) {
      frame = (*machine)->next(events);
      if (frame && !*frame) break;
    }
    if (!frame) return;
    (*machine)->flush(at);
  }
}

/// {how, length, bytes of a datagram} ...: `how` says genuine or not, and from where.
void fuzz_datagram_host(std::span<const std::byte> input) {
  auto owned = std::make_unique<NowhereToPort>();
  auto& port = *owned;
  DatagramHost host{{std::move(owned), "datagrams", "c", "b", secured_by(fuzz_key())}};
  asio::io_context io;
  std::vector<std::unique_ptr<Connection>> arrived;
  const auto listener = host.listen(io, {}, "b", [&](std::unique_ptr<Connection> connection) {
    UNDERSTUDY_ASSERT(!connection->vouched(), "nobody vouches without the key");
    arrived.push_back(std::move(connection));
  });
  std::size_t heard = 0;
  while (input.size() > 2) {
    const auto how = std::to_integer<unsigned>(input[0]);
    const auto length =
        std::min<std::size_t>(std::to_integer<std::size_t>(input[1]), input.size() - 2);
    auto datagram = std::make_unique<Buffer>(length);
    std::ranges::copy(input.subspan(2, length), datagram->bytes().begin());
    input = input.subspan(2 + length);
    if (how % 8 != 0) make_genuine(datagram->bytes());
    port.events->on_datagram({2, 0, 0, 0, 0, static_cast<std::uint8_t>(how / 8)},
                             std::move(datagram));
    ++heard;
    UNDERSTUDY_ASSERT(port.sent <= heard, "an answer is no amplifier");
  }
  io.poll();
  UNDERSTUDY_ASSERT(arrived.size() <= limits::unvouched_connections, "few places for strangers");
}

}  // namespace understudy::replication
