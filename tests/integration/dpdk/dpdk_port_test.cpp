// Ports over AF_PACKET, DPDK's way to any Linux interface.
#include "replication/dpdk_port.hpp"

#include <sys/epoll.h>

#include <atomic>

#include "config/limits.hpp"
#include "tests/integration/dpdk/two_ports.hpp"

using namespace understudy;
using namespace understudy::replication;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using namespace understudy::testing;

namespace {

const bool ready = (testing::skip_without_networks(), true);

}  // namespace

TEST_CASE("datagrams of every size arrive whole, both ways, whatever the MTU") {
  for (const auto& [mtu, most] : {std::pair<std::size_t, std::size_t>{1500, 1498},
                                  {9000, 8998},
                                  {65'535, 61'440 - 66 - 4 - 16}}) {
    CAPTURE(mtu);
    Pair pair{mtu};
    CHECK(pair.a->datagram_bytes() == most);
    CHECK(pair.a->receive_room() >= 32);
    CHECK(pair.a->address() != pair.b->address());
    std::size_t seed = 0;
    for (const std::size_t bytes :
         {std::size_t{0}, std::size_t{1}, std::size_t{45}, most / 2, most}) {
      CAPTURE(bytes);
      send(*pair.a, pair.b->address(), bytes, ++seed);
      send(*pair.b, every_host, bytes, seed + 100);
      const auto there = pair.at_b.next();
      CHECK(there.from == pair.a->address());
      REQUIRE(there.datagram->bytes().size() == bytes);
      CHECK(filled(there.datagram->bytes(), seed));
      const auto back = pair.at_a.next();
      CHECK(back.from == pair.b->address());
      REQUIRE(back.datagram->bytes().size() == bytes);
      CHECK(filled(back.datagram->bytes(), seed + 100));
    }
  }
}

TEST_CASE("a large MTU carries a whole frame of ours") {
  const Pair pair{65'535};
  CHECK(pair.a->datagram_bytes() >= limits::frame_bytes);
}

TEST_CASE("nothing is lost while no more than the receive room is on its way") {
  Pair pair{65'535};
  carry_all(pair, 1000);
}

TEST_CASE("a receiver that keeps all buffers loses nothing that fits the ring, and costs nothing") {
  Pair pair{65'535};
  const auto kept = limits::datagram_memory_bytes / 61'440;
  std::size_t sent = 0;
  for (; sent < kept; ++sent) {
    send(*pair.a, pair.b->address(), pair.a->datagram_bytes(), sent);
    REQUIRE(pair.at_b.wait_count(sent + 1));
  }
  fill_ring_and_take(pair, sent);
}

TEST_CASE("an idle port costs nothing and wakes up at once") {
  Pair pair{65'535};
  const auto load = load_over(2s);
  const auto waits = one_way_times(pair);
  WARN("idle " << load * 100 << " % of a processor for two ports; one way p50 " << in_us(waits[150])
               << " us, p90 " << in_us(waits[270]) << " us");
  CHECK(load <= 0.02);
  CHECK(in_us(waits[150]) <= 100);
}

TEST_CASE(
    "who waits for a datagram can read it, and the port takes itself back from who does not") {
  Pair pair{1500};
  const UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  const UniqueFd another{::epoll_create1(EPOLL_CLOEXEC)};
  const auto rings = [&] {
    epoll_event event{};
    return ::epoll_wait(epoll.get(), &event, 1, 5000) == 1;
  };
  REQUIRE(pair.b->lend(epoll.get()));
  CHECK_FALSE(pair.b->lend(another.get()));
  for (std::size_t seed = 1; seed <= 3; ++seed) {
    send(*pair.a, pair.b->address(), 500, seed);
    REQUIRE(rings());
    REQUIRE(pair.b->read_lent(epoll.get()));
    const auto one = pair.at_b.next();
    CHECK(filled(one.datagram->bytes(), seed));
    CHECK(one.thread == std::this_thread::get_id());
  }
  pair.b->give_back(epoll.get());
  CHECK_FALSE(pair.b->read_lent(epoll.get()));
  send(*pair.a, pair.b->address(), 500, 4);
  CHECK(pair.at_b.next().thread != std::this_thread::get_id());

  std::this_thread::sleep_for(
      2s);  // its own thread sleeps by now, and the kernel has no news of the cable
  REQUIRE(pair.b->lend(epoll.get()));
  send(*pair.a, pair.b->address(), 500, 5);
  CHECK(pair.at_b.next().thread != std::this_thread::get_id());
  CHECK_FALSE(pair.b->read_lent(epoll.get()));
  pair.b->give_back(epoll.get());  // which it is already

  REQUIRE(pair.b->lend(epoll.get()));
  CHECK(load_over(500ms) < 0.2);
  pair.networks.b.run("ip link set repl0 down");
  CHECK(pair.at_b.wait_carrier(false));
  CHECK(rings());  // the socket tells of it, too, until somebody listens
  static_cast<void>(pair.b->read_lent(epoll.get()));
  CHECK(load_over(500ms) < 0.2);
}

TEST_CASE("a port that polls has a processor of its own") {
  const auto unbound = open_dpdk_port({"repl0", DpdkIdle::poll});
  REQUIRE_FALSE(unbound);
  CHECK_THAT(unbound.error().message, Contains("core"));
  Pair pair{1500, {"repl0", DpdkIdle::poll, 0}};
  send(*pair.a, pair.b->address(), 1000, 1);
  CHECK(filled(pair.at_b.next().datagram->bytes(), 1));
  pair.networks.b.run("ip link set repl0 down");
  CHECK(pair.at_b.wait_carrier(false));
}

TEST_CASE("a cable that is pulled is noticed, and plugged in again it carries") {
  Pair pair{9000};
  for (int i = 0; i < 2; ++i) {
    pair.networks.b.run("ip link set repl0 down");
    const auto send_in_vain = [&](std::size_t count) {
      for (std::size_t k = 0; k < count; ++k) {
        if (auto lost = pair.a->allocate()) pair.a->send(pair.b->address(), std::move(lost), 8000);
        if (auto lost = pair.b->allocate()) pair.b->send(pair.a->address(), std::move(lost), 8000);
      }
    };
    send_in_vain(3000);  // while the port's thread tries to send what is stuck
    CHECK(pair.at_a.wait_carrier(false));
    CHECK(pair.at_b.wait_carrier(false));
    send_in_vain(300);
    CHECK(load_over(500ms) < 0.05);
    pair.networks.b.run("ip link set repl0 up");
    CHECK(pair.at_a.wait_carrier(true));
    CHECK(pair.at_b.wait_carrier(true));
    // What was sent meanwhile may come late, and fill the ring before what is sent now.
    for (const auto& [from, to, inbox] :
         {std::tuple{&pair.a, &pair.b, &pair.at_b}, std::tuple{&pair.b, &pair.a, &pair.at_a}}) {
      bool came = false;
      for (int tries = 0; tries < 100 && !came; ++tries) {
        send(**from, (*to)->address(), 1234, 5);
        while (!came && inbox->wait_some(50ms))
          came = inbox->next().datagram->bytes().size() == 1234;
      }
      CHECK(came);
    }
  }
}

TEST_CASE("an interface that goes away is a cable that is pulled") {
  Pair pair{1500};
  pair.networks.b.run("ip link del repl0");
  CHECK(pair.at_a.wait_carrier(false));
  CHECK(pair.at_b.wait_carrier(false));
  CHECK(load_over(300ms) < 0.05);
  if (auto lost = pair.a->allocate()) pair.a->send(pair.b->address(), std::move(lost), 8);
}

TEST_CASE("other traffic of the interface does not reach the port") {
  Pair pair{1500};
  pair.networks.a.run("ip addr add 192.0.2.1/24 dev repl0");
  pair.networks.b.run("ip addr add 192.0.2.2/24 dev repl0");
  // Without `ping`: UDP to a port where nobody listens.
  pair.networks.a.run(
      "bash -c 'for i in $(seq 50); do echo hello > /dev/udp/192.0.2.2/9; done' 2>/dev/null");
  send(*pair.a, pair.b->address(), 10, 1);
  CHECK(filled(pair.at_b.next().datagram->bytes(), 1));
  CHECK(pair.b->counters().received == 1);
}

TEST_CASE("a device that cannot be opened says why") {
  const TwoNetworks networks{1500};
  networks.a.in([] {
    const auto absent = open_dpdk_port({"repl9"});
    REQUIRE_FALSE(absent);
    CHECK(absent.error().message ==
          "interface repl9 does not exist on this host; create it or correct the configuration");
    const auto no_nic = open_dpdk_port({"0000:7f:1f.7"});
    REQUIRE_FALSE(no_nic);
    CHECK_THAT(no_nic.error().message, Contains("0000:7f:1f.7") && Contains("vfio-pci"));
    const auto no_driver = open_dpdk_port({"net_nothing,iface=repl0"});
    REQUIRE_FALSE(no_driver);
    CHECK_THAT(no_driver.error().message, Contains("net_nothing"));
    CHECK_FALSE(open_dpdk_port({"not/a device"}));
    // After all that, one that is there opens, and opens again.
    for (int i = 0; i < 2; ++i) CHECK(open_dpdk_port({"repl0"}));
  });
}
