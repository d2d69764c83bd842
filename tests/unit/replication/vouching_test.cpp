// Hosts with a key on a segment with one who has none.
#include "replication/vouching.hpp"

#include <atomic>

#include <catch2/catch.hpp>

#include "memory_network.hpp"
#include "replication/checksum_records.hpp"
#include "replication/datagram_host.hpp"
#include "shared_key.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

const HostAddress here{2, 0, 0, 0, 0, 'b'};
const HostAddress peer{2, 0, 0, 0, 0, 'a'};
const HostAddress other{2, 0, 0, 0, 0, 'x'};
const ConnectionId connection{77};

Vouch vouch_with(const std::shared_ptr<const Credentials>& key) {
  return secured_by(key).vouch;
}

std::vector<std::byte> plain(const PacketHeader& header, std::span<const std::byte> payload = {}) {
  auto whole = header;
  whole.number = PacketNumber{1};
  whole.payload_bytes = static_cast<std::uint32_t>(payload.size());
  const auto bytes = encode_packet_header(whole);
  std::vector<std::byte> datagram(limits::datagram_overhead + payload.size());
  std::ranges::copy(bytes, datagram.begin());
  const std::array pieces{payload};
  make_checksum_sealer()->seal(1, bytes, pieces, std::span{datagram}.subspan(bytes.size()));
  return datagram;
}

/// Hears everything that is sent to its address.
struct Stranger final : DatagramEvents {
  Stranger(MemoryNetwork& network, std::uint8_t address) : port{network.port(address)} {
    port->start(*this);
  }
  ~Stranger() override { port->stop(); }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;

  void on_datagram(const HostAddress& /*from*/, DatagramPointer datagram) override {
    const std::lock_guard lock{mutex};
    const auto bytes = datagram->bytes();
    heard.emplace_back(bytes.begin(), bytes.end());
    changed.notify_all();
  }
  void on_carrier(bool /*up*/) override {}

  void say(const HostAddress& to, std::span<const std::byte> bytes) const {
    auto buffer = port->allocate();
    std::ranges::copy(bytes, buffer->bytes().begin());
    port->send(to, std::move(buffer), bytes.size());
  }
  /// The first packet of that kind.
  std::optional<std::vector<std::byte>> wait(PacketKind kind, Duration patience = seconds{2}) {
    std::unique_lock lock{mutex};
    std::optional<std::vector<std::byte>> found;
    changed.wait_for(lock, patience, [&] {
      const auto at = std::ranges::find_if(heard, [kind](std::vector<std::byte>& bytes) {
        const auto packet = decode_packet(bytes);
        return packet && packet->header.kind == kind;
      });
      if (at != heard.end()) found = *at;
      return found.has_value();
    });
    return found;
  }

  std::unique_ptr<DatagramPort> port;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::vector<std::byte>> heard;
};

/// Host b, which listens; its connections are kept half open.
struct Listening {
  explicit Listening(MemoryNetwork& network, const std::shared_ptr<const Credentials>& key)
      : host{DatagramHost::Plan{network.port('b'), "datagrams", "c1", "b", secured_by(key)}},
        listener{host.listen(io, {}, "b",
                             [this](std::unique_ptr<Connection> connection_) {
                               connections.push_back(std::move(connection_));
                             })
                     .value()} {}
  /// How many connections came from strangers, and from those who vouched.
  std::pair<std::size_t, std::size_t> taken() {
    io.restart();
    io.poll();
    const auto vouched_for =
        std::ranges::count_if(connections, [](const auto& one) { return one->vouched(); });
    const auto all = connections.size();
    return {all - static_cast<std::size_t>(vouched_for), static_cast<std::size_t>(vouched_for)};
  }

  asio::io_context io;
  DatagramHost host;
  std::vector<std::unique_ptr<Connection>> connections;
  std::unique_ptr<Listener> listener;
};

PacketHeader opening(std::uint64_t id) {
  return {.kind = PacketKind::data,
          .first = true,
          .last = true,
          .connection = ConnectionId{id},
          .limit = SegmentNumber{8}};
}

const std::string name_of_b{"c1\0b", 4};

}  // namespace

TEST_CASE("only a host with the key vouches, and for one way only") {
  const auto ours = vouch_with(with_key());
  auto bytes = plain({.kind = PacketKind::gone, .connection = connection});
  auto packet = decode_packet(bytes);
  REQUIRE(packet);
  CHECK_FALSE(vouched(ours, peer, here, *packet));
  const auto tag = voucher_of(ours, peer, here, packet->header_bytes, packet->payload);
  std::ranges::copy(tag, packet->tag.begin());
  CHECK(vouched(ours, peer, here, *packet));
  CHECK_FALSE(vouched(ours, here, peer, *packet));
  CHECK_FALSE(vouched(ours, other, here, *packet));
  CHECK_FALSE(vouched(vouch_with(key_of('x')), peer, here, *packet));
  CHECK_FALSE(vouched({}, peer, here, *packet));
  bytes[9] ^= std::byte{1};  // of the connection's number
  CHECK_FALSE(vouched(ours, peer, here, *packet));
}

TEST_CASE("a ticket is good for one host, one connection and some seconds") {
  const Invitations invitations{vouch_with(with_key()), Voucher{}};
  const TimePoint at{std::chrono::hours{1}};
  const auto ticket = invitations.make(peer, connection, at);
  CHECK(invitations.good(ticket, peer, connection, at));
  CHECK(invitations.good(ticket, peer, connection, at + limits::invitation_period));
  CHECK_FALSE(invitations.good(ticket, peer, connection, at + 2 * limits::invitation_period));
  CHECK_FALSE(invitations.good(ticket, other, connection, at));
  CHECK_FALSE(invitations.good(ticket, peer, ConnectionId{78}, at));
  CHECK_FALSE(invitations.good(std::span{ticket}.first(15), peer, connection, at));
  const Invitations restarted{vouch_with(with_key()), Voucher{std::byte{1}}};
  CHECK_FALSE(restarted.good(ticket, peer, connection, at));
}

TEST_CASE("a flood of greetings takes no place from a host with the key") {
  MemoryNetwork network;
  Listening listening{network, with_key()};
  const Stranger stranger{network, 'x'};
  const std::array<std::byte, 300> noise{};
  for (std::uint64_t id = 1; id <= 200; ++id) stranger.say(here, plain(opening(id), noise));

  DatagramHost near{{network.port('a'), "datagrams", "c1", "a", secured_by(with_key())}};
  asio::io_context io;
  const auto dialer = near.dialer(io, {}, "b");
  Result<std::unique_ptr<Connection>> dialled = fail(ErrorKind::timed_out, "not yet");
  dialer->dial([&](auto connection_) {
    dialled = std::move(connection_);
    io.stop();
  });
  io.run_for(seconds{5});
  REQUIRE(dialled);
  const auto [strangers, hosts] = listening.taken();
  CHECK(strangers <= limits::unvouched_connections);
  CHECK(hosts == 1);
}

TEST_CASE("who answers in another's name is not believed, and a knock cannot be repeated") {
  MemoryNetwork network;
  Listening listening{network, with_key()};
  Stranger stranger{network, 'x'};
  const auto question = std::as_bytes(std::span{name_of_b});
  stranger.say(here, plain({.kind = PacketKind::ask, .connection = connection}, question));
  auto invitation = stranger.wait(PacketKind::here);
  REQUIRE(invitation);
  const auto packet = decode_packet(*invitation);
  REQUIRE(packet->payload.size() == limits::ticket_bytes);
  // He has a ticket, and not the key.
  stranger.say(here, plain({.kind = PacketKind::knock, .connection = connection}, packet->payload));
  CHECK_FALSE(stranger.wait(PacketKind::enter, milliseconds{50}));
  CHECK(listening.taken() == std::pair<std::size_t, std::size_t>{0, 0});

  // The same ticket under the key, but in the name of another.
  const auto vouch = vouch_with(with_key());
  auto knock = plain({.kind = PacketKind::knock, .connection = connection}, packet->payload);
  auto parts = decode_packet(knock);
  std::ranges::copy(voucher_of(vouch, peer, here, parts->header_bytes, parts->payload),
                    parts->tag.begin());
  stranger.say(here, knock);
  CHECK_FALSE(stranger.wait(PacketKind::enter, milliseconds{50}));

  // In his own, had he the key: one place, however often he says it.
  std::ranges::copy(voucher_of(vouch, other, here, parts->header_bytes, parts->payload),
                    parts->tag.begin());
  for (int i = 0; i < 5; ++i) stranger.say(here, knock);
  CHECK(stranger.wait(PacketKind::enter));
  CHECK(listening.taken() == std::pair<std::size_t, std::size_t>{0, 1});
}

TEST_CASE("a host tells of connections that it does not know, not too often") {
  MemoryNetwork network;
  const Listening listening{network, with_key()};
  Stranger stranger{network, 'x'};
  auto sealed = plain({.kind = PacketKind::probe, .sealed = true, .connection = connection});
  for (int i = 0; i < 1000; ++i) stranger.say(here, sealed);
  REQUIRE(stranger.wait(PacketKind::gone));
  stranger.say(here, plain({.kind = PacketKind::ask, .connection = ConnectionId{1}},
                           std::as_bytes(std::span{name_of_b})));
  REQUIRE(stranger.wait(PacketKind::here));  // behind all of them
  const std::lock_guard lock{stranger.mutex};
  CHECK(stranger.heard.size() <= 1 + 3 * limits::gone_answers);
}
