// Two channels, and packets that the test carries between them or not.
#include <deque>

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "replication/datagram_channel.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

struct Carried {
  PacketHeader header;
  std::vector<std::byte> payload;
};

class Buffer final : public DatagramBuffer {
 public:
  explicit Buffer(std::vector<std::byte> bytes) : bytes_{std::move(bytes)} {}
  std::span<std::byte> bytes() override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// A channel, and what it has delivered.
class End {
 public:
  explicit End(bool answering, std::size_t room = 32)
      : channel{{.connection = ConnectionId{1},
                 .datagram_bytes = 100 + limits::datagram_overhead,
                 .room = room,
                 .sealed = false,
                 .answering = answering},
                start} {}

  void say(const std::string& text) { channel.send_copy(std::as_bytes(std::span{text})); }

  std::deque<Carried> packets(TimePoint at) {
    std::deque<Carried> result;
    while (channel.has_packet(at)) {
      const auto packet = channel.take_packet(at);
      result.push_back({packet.header, {packet.payload.begin(), packet.payload.end()}});
    }
    return result;
  }

  Result<> hear(const Carried& packet, TimePoint at) {
    using Arrival = DatagramChannel::Arrival;
    const auto arrival = channel.classify(packet.header);
    if (arrival == Arrival::ignored) return {};
    if (arrival == Arrival::early) {
      return channel.hold(packet.header, std::make_unique<Buffer>(packet.payload), at);
    }
    UNDERSTUDY_CHECK(channel.accept(packet.header, packet.payload, at));
    if (arrival == Arrival::next) heard += text_of(packet.payload);
    while (const auto held = channel.take_held()) heard += text_of(held->datagram->bytes());
    return {};
  }

  static constexpr TimePoint start{seconds{1000}};
  DatagramChannel channel;
  std::string heard;
};

void carry(const std::deque<Carried>& packets, End& to, TimePoint at) {
  for (const auto& packet : packets) REQUIRE(to.hear(packet, at));
}

/// Whatever both still say, in turn.
void settle(End& a, End& b, TimePoint at) {
  for (int round = 0; round < 100; ++round) {
    const auto from_a = a.packets(at);
    const auto from_b = b.packets(at);
    if (from_a.empty() && from_b.empty()) return;
    carry(from_a, b, at);
    carry(from_b, a, at);
  }
  FAIL("they do not stop talking");
}

std::string text(std::size_t bytes) {
  std::string result;
  for (std::size_t i = 0; i < bytes; ++i) result += static_cast<char>('a' + i % 26);
  return result;
}

struct Fixture {
  End near{false};
  End far{true};
  TimePoint at{End::start + milliseconds{1}};
};

}  // namespace

TEST_CASE_METHOD(Fixture, "a message is cut, and arrives whole") {
  near.say(text(250));
  const auto packets = near.packets(at);
  REQUIRE(packets.size() == 3);
  CHECK((packets[0].header.first && !packets[0].header.last));
  CHECK((!packets[2].header.first && packets[2].header.last));
  carry(packets, far, at);
  CHECK(far.heard == text(250));
}

TEST_CASE_METHOD(Fixture, "a message that is sent is not copied") {
  const auto message = text(60);
  near.channel.send(std::as_bytes(std::span{message}));
  const auto packet = near.channel.take_packet(at);
  CHECK(packet.payload.data() == std::as_bytes(std::span{message}).data());
}

TEST_CASE_METHOD(Fixture, "order does not matter, and neither do repetitions") {
  near.say(text(500));
  auto packets = near.packets(at);
  std::ranges::reverse(packets);
  carry(packets, far, at);
  carry(packets, far, at);
  CHECK(far.heard == text(500));
}

TEST_CASE_METHOD(Fixture,
                 "only what is missing is sent again, when later packets have overtaken it") {
  near.say(text(700));
  auto packets = near.packets(at);
  REQUIRE(packets.size() == 7);
  packets.erase(packets.begin() + 2);
  carry(packets, far, at);
  const auto answer = far.packets(at);
  REQUIRE(answer.size() == 1);
  CHECK(answer[0].header.acked == SegmentNumber{2});
  CHECK(answer[0].payload == std::vector{std::byte{0b1111}});
  carry(answer, near, at);
  const auto again = near.packets(at);
  REQUIRE(again.size() == 1);
  CHECK(again[0].header.sequence == SegmentNumber{2});
  CHECK(again[0].header.number == PacketNumber{8});
  carry(again, far, at);
  CHECK(far.heard == text(700));
  CHECK(near.channel.resent() == 1);
}

TEST_CASE_METHOD(Fixture,
                 "when the last packets are lost a probe asks, and data is sent only then") {
  near.say(text(300));
  auto packets = near.packets(at);
  packets.resize(1);
  carry(packets, far, at);
  at += limits::channel_ack_delay;
  carry(far.packets(at), near, at);
  CHECK(near.packets(at).empty());
  const auto wake = near.channel.wake_at();
  REQUIRE(wake.has_value());
  at = *wake;
  const auto probe = near.packets(at);
  REQUIRE(probe.size() == 1);
  CHECK(probe[0].header.kind == PacketKind::probe);
  carry(probe, far, at);
  const auto answer = far.packets(at);
  REQUIRE(answer.size() == 1);
  carry(answer, near, at);
  CHECK(near.packets(at).size() == 2);
  CHECK(near.channel.resent() == 2);
}

TEST_CASE_METHOD(Fixture, "a peer that was not run for a while gets nothing twice") {
  near.say(text(300));
  const auto packets = near.packets(at);
  std::deque<Carried> probes;
  for (int i = 0; i < 5; ++i) {
    at = *near.channel.wake_at();
    const auto more = near.packets(at);
    probes.insert(probes.end(), more.begin(), more.end());
  }
  CHECK(probes.size() == 5);
  carry(packets, far, at);
  carry(probes, far, at);
  settle(near, far, at);
  CHECK(near.channel.resent() == 0);
  CHECK(far.heard == text(300));
  CHECK_FALSE(near.channel.wake_at().has_value());
}

TEST_CASE_METHOD(Fixture, "acks are few, and not late") {
  near.say(text(100));
  carry(near.packets(at), far, at);
  CHECK(far.packets(at).empty());
  CHECK(far.channel.wake_at() == at + limits::channel_ack_delay);
  CHECK(far.packets(at + limits::channel_ack_delay).size() == 1);
  near.say(text(800));
  auto packets = near.packets(at);
  REQUIRE(packets.size() == limits::channel_first_segments - 1);
}

TEST_CASE_METHOD(Fixture, "data carries the ack") {
  near.say("question");
  carry(near.packets(at), far, at);
  far.say("answer");
  const auto packets = far.packets(at);
  REQUIRE(packets.size() == 1);
  CHECK(packets[0].header.acked == SegmentNumber{1});
  CHECK_FALSE(far.channel.has_packet(at + seconds{0} + limits::channel_ack_delay));
}

TEST_CASE_METHOD(Fixture, "no more is sent than the peer allows") {
  for (int i = 0; i < 60; ++i) near.say(text(100));
  auto packets = near.packets(at);
  CHECK(packets.size() == limits::channel_first_segments);
  carry(packets, far, at);
  carry(far.packets(at), near, at);
  CHECK(near.packets(at).size() <= 32);
}

TEST_CASE_METHOD(Fixture, "what waits for the peer's leave is asked for again") {
  for (int i = 0; i < 20; ++i) near.say(text(100));
  carry(near.packets(at), far, at);
  static_cast<void>(far.packets(at));  // the leave is lost
  at = *near.channel.wake_at();
  carry(near.packets(at), far, at);
  settle(near, far, at);
  CHECK(far.heard.size() == 2000);
}

TEST_CASE_METHOD(Fixture, "a queue that is full refuses, and says when there is room") {
  for (std::size_t i = 0; i < limits::link_queue_frames; ++i) near.say("x");
  CHECK_FALSE(near.channel.accepts());
  for (int i = 0; i < 20; ++i) {
    at += milliseconds{1};
    settle(near, far, at);
  }
  CHECK(near.channel.half_free());
}

TEST_CASE_METHOD(Fixture, "what is beyond the allowance is not even opened") {
  PacketHeader header{.kind = PacketKind::data,
                      .answering = false,
                      .payload_bytes = 1,
                      .connection = ConnectionId{1},
                      .number = PacketNumber{1},
                      .sequence = SegmentNumber{limits::channel_first_segments}};
  CHECK(far.channel.classify(header) == DatagramChannel::Arrival::ignored);
  header.sequence = SegmentNumber{~std::uint64_t{}};
  CHECK(far.channel.classify(header) == DatagramChannel::Arrival::ignored);
  header.sequence = SegmentNumber{1};
  CHECK(far.channel.classify(header) == DatagramChannel::Arrival::early);
  header.number = PacketNumber{limits::channel_numbers + 1};
  CHECK(far.channel.classify(header) == DatagramChannel::Arrival::ignored);
  header.number = PacketNumber{~std::uint64_t{}};
  CHECK(far.channel.classify(header) == DatagramChannel::Arrival::ignored);
}

TEST_CASE_METHOD(Fixture, "an ack of what was never sent is an error, and changes nothing") {
  near.say(text(300));
  static_cast<void>(near.packets(at));
  PacketHeader header{.kind = PacketKind::ack,
                      .answering = true,
                      .connection = ConnectionId{1},
                      .number = PacketNumber{1},
                      .acked = SegmentNumber{1},
                      .newest = PacketNumber{3},
                      .limit = SegmentNumber{33}};
  std::vector<std::byte> held;
  SECTION("in a row") {
    header.acked = SegmentNumber{4};
  }
  SECTION("a packet") {
    header.newest = PacketNumber{4};
  }
  SECTION("held") {
    held = {std::byte{0b10}};
  }
  SECTION("held, far away") {
    held = {{}, {}, std::byte{0x80}};
  }
  SECTION("a leave that takes back") {
    header.limit = SegmentNumber{0};
  }
  SECTION("a leave without an end") {
    header.limit = SegmentNumber{~std::uint64_t{}};
  }
  CHECK_FALSE(near.channel.accept(header, held, at).has_value());
  CHECK(near.channel.wake_at().has_value());
}

TEST_CASE_METHOD(Fixture, "an old ack is harmless") {
  near.say(text(300));
  carry(near.packets(at), far, at);
  at += milliseconds{1};
  const auto first = far.packets(at);
  carry(first, near, at);
  near.say(text(300));
  carry(near.packets(at), far, at);
  at += milliseconds{1};
  carry(far.packets(at), near, at);
  carry(first, near, at);
  CHECK(near.packets(at).empty());
  CHECK(near.channel.resent() == 0);
}

TEST_CASE_METHOD(Fixture, "many losses make the window small, and it grows again") {
  const auto before = near.channel.window();
  for (int i = 0; i < 16; ++i) near.say(text(100));
  carry(near.packets(at), far, at);
  carry(far.packets(at), near, at);
  auto packets = near.packets(at);
  packets.pop_front();
  carry(packets, far, at);
  at += milliseconds{1};
  carry(far.packets(at), near, at);
  CHECK(near.channel.window() < before * 2);
  CHECK(near.channel.window() >= limits::channel_window_min);
  const auto shrunk = near.channel.window();
  for (int i = 0; i < 400; ++i) {
    while (near.channel.accepts()) near.say(text(100));
    settle(near, far, at);
    at += milliseconds{1};
  }
  CHECK(near.channel.window() > shrunk);
}
