// Real sessions, servers and senders over datagrams, both hosts in this process.
#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "memory_network.hpp"
#include "replication/datagram_host.hpp"
#include "replication/link_test.hpp"
#include "shared_key.hpp"
#include "toy_security.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

const Endpoint nowhere{"192.0.2.1", 7400};

std::shared_ptr<DatagramHost> make_host(MemoryNetwork& network, const std::string& name,
                                        LinkSecurity security = {}) {
  return std::make_shared<DatagramHost>(
      DatagramHost::Plan{network.port(static_cast<std::uint8_t>(name.front())), "datagrams", "c1",
                         name, std::move(security)});
}

/// Host "b", whose replicas are fakes.
struct Backup {
  explicit Backup(std::shared_ptr<Transport> transport) {
    auto listening =
        ReplicationServer::listen(nowhere, "c1", "b",
                                  [this](auto&, auto&) {
                                    const std::lock_guard lock{mutex};
                                    replicas.push_back(std::make_shared<FakeReplica>());
                                    return Result<std::shared_ptr<ReplicaEvents>>{replicas.back()};
                                  },
                                  {std::move(transport)});
    REQUIRE(listening);
    server = std::move(*listening);
  }
  std::shared_ptr<FakeReplica> replica(std::size_t index = 0) {
    const std::lock_guard lock{mutex};
    return replicas.at(index);
  }

  std::mutex mutex;
  std::vector<std::shared_ptr<FakeReplica>> replicas;
  std::unique_ptr<ReplicationServer> server;
};

Result<std::unique_ptr<CheckpointSender>> open_from(std::shared_ptr<Transport> transport,
                                                    FakePrimary& primary,
                                                    const std::string& guest = "pg") {
  return CheckpointSender::open({"c1", "a", "b", nowhere, std::move(transport)}, offer_of(guest),
                                seconds{10}, primary.events());
}

void check_epochs(MemoryNetwork& network, const LinkSecurity& security, std::uint64_t epochs) {
  const auto far = make_host(network, "b", security);
  const auto near = make_host(network, "a", security);
  Backup backup{far};
  FakePrimary primary;
  const auto sender = open_from(near, primary);
  REQUIRE(sender);
  std::vector<std::string> sent;
  for (std::uint64_t epoch = 1; epoch <= epochs; ++epoch) {
    sent.push_back(send_epoch(**sender, epoch, epoch % 7, limits::frame_payload_bytes - epoch));
  }
  REQUIRE(primary.wait_committed(epochs));
  REQUIRE(backup.replica()->wait_epochs(epochs));
  CHECK(backup.replica()->epochs() == sent);
  CHECK(backup.replica()->in_order());
  (*sender)->stop("done");
  CHECK(backup.replica()->wait_end());
  CHECK(backup.replica()->ends().at(0).find("done") != std::string::npos);
}

}  // namespace

TEST_CASE("epochs arrive over datagrams") {
  MemoryNetwork network;
  check_epochs(network, {}, 50);
}

TEST_CASE("epochs arrive over ports that read by themselves only") {
  MemoryNetwork network;
  network.lends = false;
  check_epochs(network, {}, 50);
}

TEST_CASE("epochs arrive over small datagrams") {
  MemoryNetwork network{1500 - 14, 700};
  check_epochs(network, {}, 20);
}

TEST_CASE("epochs arrive over datagrams under keys") {
  MemoryNetwork network;
  check_epochs(network, sim::toy_security("the same"), 30);
}

TEST_CASE("epochs arrive over datagrams under the cluster's key") {
  MemoryNetwork network;
  check_epochs(network, secured_by(with_key()), 50);
}

TEST_CASE("epochs arrive over a bad network of datagrams") {
  MemoryNetwork network{9000, 48};
  network.lost = 20;
  network.repeated = 20;
  network.late = 50;
  check_epochs(network, secured_by(GENERATE(in_clear(), with_key())), 20);
}

TEST_CASE("a host with another key, or with none, is told so") {
  MemoryNetwork network;
  const auto ours = GENERATE(with_key(), in_clear());
  const auto far = make_host(network, "b", secured_by(ours));
  const auto near = make_host(network, "a", secured_by(key_of('x')));
  Backup backup{far};
  FakePrimary primary;
  const auto sender = open_from(near, primary);
  REQUIRE_FALSE(sender);
  // Who expects a key and meets none cannot be told in a way that the other would understand.
  if (ours) CHECK(sender.error().message.find("the same key") != std::string::npos);
}

TEST_CASE("a host that is not there is named, with a remedy") {
  MemoryNetwork network;
  const auto near = make_host(network, "a");
  const auto other = make_host(network, "c");
  FakePrimary primary;
  const auto sender = open_from(near, primary);
  REQUIRE_FALSE(sender);
  CHECK(sender.error().kind == ErrorKind::unavailable);
  CHECK(sender.error().message.find("host b does not answer") != std::string::npos);
}

TEST_CASE("a session over datagrams survives that the network is away") {
  MemoryNetwork network;
  const auto far = make_host(network, "b");
  const auto near = make_host(network, "a");
  Backup backup{far};
  FakePrimary primary;
  const auto sender = open_from(near, primary);
  REQUIRE(sender);
  auto sent = std::vector{send_epoch(**sender, 1, 5, 5000)};
  REQUIRE(primary.wait_committed(1));
  network.cut = true;
  sent.push_back(send_epoch(**sender, 2, 5, 5000));
  REQUIRE(primary.wait_downs(1));
  network.cut = false;
  REQUIRE(primary.wait_ups(1));
  REQUIRE(primary.wait_committed(2));
  REQUIRE(backup.replica()->wait_epochs(2));
  CHECK(backup.replica()->epochs() == sent);
}

TEST_CASE("a backup that stops is noticed at once") {
  MemoryNetwork network;
  const auto far = make_host(network, "b");
  const auto near = make_host(network, "a");
  auto backup = std::make_unique<Backup>(far);
  FakePrimary primary;
  const auto sender = open_from(near, primary);
  REQUIRE(sender);
  const auto before = now();
  backup->server->stop();
  REQUIRE(primary.wait_lost());
  CHECK(now() - before < limits::link_silence);
}

TEST_CASE("a backup that was restarted is noticed at once") {
  MemoryNetwork network;
  const auto security = secured_by(GENERATE(in_clear(), with_key()));
  auto far = make_host(network, "b", security);
  const auto near = make_host(network, "a", security);
  auto backup = std::make_unique<Backup>(far);
  FakePrimary primary;
  const auto sender = open_from(near, primary);
  REQUIRE(sender);
  send_epoch(**sender, 1, 1);
  REQUIRE(primary.wait_committed(1));
  network.cut = true;  // killed: it says nothing
  backup.reset();
  far.reset();
  network.cut = false;
  far = make_host(network, "b", security);
  const auto before = now();
  Backup restarted{far};
  REQUIRE(primary.wait_lost());
  CHECK(now() - before < limits::link_silence);
}

TEST_CASE("a request that takes for ever over datagrams can be ended") {
  MemoryNetwork network;
  const auto far = make_host(network, "b");
  const auto near = make_host(network, "a");
  Backup backup{far};
  FakePrimary primary;
  const auto sender = open_from(near, primary);
  REQUIRE(sender);
  Request request;
  request.set_id(FakeReplica::endless_request);
  auto buffer = (*sender)->acquire(seconds{1});
  REQUIRE(buffer);
  fill(*buffer, request.SerializeAsString());
  (*sender)->submit(std::move(*buffer), FrameType::request, Epoch{});
  REQUIRE(backup.replica()->wait_request());
  send_epoch(**sender, 1, 100, limits::frame_payload_bytes);  // waits meanwhile
  std::this_thread::sleep_for(3 * limits::link_keepalive);    // pings go both ways
  CHECK((*sender)->status().link == LinkState::up);
  backup.server->end_session("pg", "promoted");
  REQUIRE(primary.wait_lost());
  CHECK(primary.lost()->message.find("promoted") != std::string::npos);
}

TEST_CASE("strangers are heard, but not too many at once") {
  ConnectionTable table{48, 4};
  std::vector<std::unique_ptr<ConnectionPlace>> places;
  const auto opening = GENERATE(Opening::vouched, Opening::unvouched);
  const auto open = [&](std::uint64_t id, std::optional<Opening> other = std::nullopt) {
    return table.open({{}, ConnectionId{id}, HandshakeSide::server}, other.value_or(opening));
  };
  const std::size_t most = opening == Opening::vouched ? limits::greeting_connections : 4;
  for (std::uint64_t id = 1; id <= most; ++id) {
    places.push_back(open(id));
    REQUIRE(places.back());
  }
  CHECK_FALSE(open(1000));
  CHECK(open(1001, opening == Opening::vouched ? Opening::unvouched : Opening::vouched));
  CHECK(open(1002, Opening::ours));
  CHECK(places[0]->room() == std::max(48 / most, limits::channel_room_min));
  places[0]->settle();
  CHECK(open(1000));
  places[1]->set_farewell({{std::byte{1}}});
  const auto gone = places[1]->key();
  places.clear();
  CHECK_FALSE(table.find(gone));
  CHECK(table.farewell(gone).has_value());
  places.push_back(open(7));
  REQUIRE(places[0]);
  CHECK_FALSE(open(7));
  CHECK(places[0]->room() == 48);
}

TEST_CASE("several guests share a network of datagrams") {
  MemoryNetwork network;
  const auto far = make_host(network, "b");
  const auto near = make_host(network, "a");
  Backup backup{far};
  std::array<FakePrimary, 4> primaries;
  std::vector<std::unique_ptr<CheckpointSender>> senders;
  for (std::size_t i = 0; i < primaries.size(); ++i) {
    auto sender = open_from(near, primaries.at(i), fmt::format("guest{}", i));
    REQUIRE(sender);
    senders.push_back(std::move(*sender));
  }
  for (std::uint64_t epoch = 1; epoch <= 10; ++epoch) {
    for (auto& sender : senders) send_epoch(*sender, epoch, 8, limits::frame_payload_bytes);
  }
  for (auto& primary : primaries) CHECK(primary.wait_committed(10));
}

TEST_CASE("a link over datagrams is measured") {
  MemoryNetwork network;
  const auto security = secured_by(GENERATE(in_clear(), with_key()));
  const auto far = make_host(network, "b", security);
  const auto near = make_host(network, "a", security);
  Backup backup{far};
  const auto measured = measure_link({"c1", "a", "b", nowhere, near}, [] { return false; });
  REQUIRE(measured);
  CHECK(measured->bytes_per_second > 1e6);
  CHECK(measured->round_trip_p50 > Duration{});
  CHECK(measured->counters.sent_frames > 100);
}
