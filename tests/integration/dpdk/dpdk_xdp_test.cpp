// Ports over AF_XDP, in the kernel's copy mode, which every interface has.
#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "config/dpdk_runtime.hpp"
#include "config/limits.hpp"
#include "netbuffer/dpdk_uplink.hpp"
#include "tests/integration/dpdk/two_ports.hpp"

using namespace understudy;
using namespace understudy::replication;
using namespace understudy::testing;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

const DpdkPortOptions over_xdp{"net_af_xdp,iface=repl0"};

/// For two hosts in one process.
const bool roomy = (dpdk::configure({.memory_mib = 128}), true);

/// Where the kernel has none, the tests below say so and pass.
bool kernel_has_xdp() {
  const UniqueFd socket{::socket(AF_XDP, SOCK_RAW, 0)};
  if (!socket) WARN("skipped: this kernel has no sockets of AF_XDP");
  return static_cast<bool>(socket);
}

/// How often the process's threads went to sleep.
long sleeps() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw;
}

}  // namespace

TEST_CASE("over AF_XDP datagrams of every size arrive whole, both ways") {
  if (!kernel_has_xdp()) return;
  for (const auto& [mtu, most] : {std::pair<std::size_t, std::size_t>{1500, 1498}, {3498, 3496}}) {
    CAPTURE(mtu);
    Pair pair{mtu, over_xdp};
    CHECK(pair.a->datagram_bytes() == most);
    CHECK(pair.a->address() != pair.b->address());
    std::size_t seed = 0;
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{45}, most}) {
      CAPTURE(bytes);
      send(*pair.a, pair.b->address(), bytes, ++seed);
      send(*pair.b, every_host, bytes, seed + 100);
      const auto there = pair.at_b.next();
      CHECK(there.from == pair.a->address());
      REQUIRE(there.datagram->bytes().size() == bytes);
      CHECK(filled(there.datagram->bytes(), seed));
      REQUIRE(pair.at_a.next().datagram->bytes().size() == bytes);
    }
  }
}

TEST_CASE("over AF_XDP nothing is lost while no more than the receive room is on its way") {
  if (!kernel_has_xdp()) return;
  Pair pair{1500, over_xdp};
  carry_all(pair, 20'000);
}

TEST_CASE("over AF_XDP a receiver that keeps all buffers loses nothing that fits the ring") {
  if (!kernel_has_xdp()) return;
  Pair pair{1500, over_xdp};
  std::size_t sent = 0;
  for (; sent < limits::device_packets; ++sent) {
    send(*pair.a, pair.b->address(), 1000, sent);
    if (sent % 256 == 0) REQUIRE(pair.at_b.wait_count(sent + 1));
  }
  fill_ring_and_take(pair, sent);
}

TEST_CASE("over AF_XDP an idle port sleeps until its socket wakes it") {
  if (!kernel_has_xdp()) return;
  Pair pair{1500, over_xdp};
  const auto before = sleeps();
  const auto load = load_over(1s);
  CHECK(sleeps() - before < 100);  // one that looked by the clock would have slept 5,000 times
  const auto waits = one_way_times(pair);
  WARN("idle " << load * 100 << " % of a processor for two ports; one way p50 "
               << in_us(waits[waits.size() / 2]) << " us, p90 "
               << in_us(waits[waits.size() * 9 / 10]) << " us");
}

TEST_CASE("over AF_XDP a cable that is pulled is noticed, and plugged in again it carries") {
  if (!kernel_has_xdp()) return;
  Pair pair{1500, over_xdp};
  pair.networks.b.run("ip link set repl0 down");
  CHECK(pair.at_a.wait_carrier(false));
  CHECK(pair.at_b.wait_carrier(false));
  for (std::size_t k = 0; k < 300; ++k) {
    if (auto lost = pair.a->allocate()) pair.a->send(pair.b->address(), std::move(lost), 1000);
  }
  CHECK(load_over(500ms) < 0.2);
  pair.networks.b.run("ip link set repl0 up");
  CHECK(pair.at_a.wait_carrier(true));
  CHECK(pair.at_b.wait_carrier(true));
  send(*pair.a, pair.b->address(), 1234, 5);
  while (pair.at_b.next().datagram->bytes().size() != 1234) {
  }
  pair.networks.b.run("ip link del repl0");
  CHECK(pair.at_a.wait_carrier(false));
  CHECK(load_over(300ms) < 0.2);
}

TEST_CASE("over AF_XDP a device gives its memory back when it is closed") {
  if (!kernel_has_xdp()) return;
  for (int i = 0; i < 6; ++i) {
    Pair pair{1500, over_xdp};
    send(*pair.a, pair.b->address(), 100, 1);
    CHECK(filled(pair.at_b.next().datagram->bytes(), 1));
    // What waits in the device when it goes is forgotten with it.
    for (int k = 0; k < 20; ++k) send(*pair.b, pair.a->address(), 100, 1);
  }
}

TEST_CASE("over AF_XDP a device that was closed can be opened again") {
  if (!kernel_has_xdp()) return;
  const TwoNetworks networks{1500};
  const auto at_b = open_in(networks.b, over_xdp);
  Inbox inbox;
  at_b->start(inbox);
  for (int i = 0; i < 3; ++i) {
    const auto port = open_in(networks.a, over_xdp);
    send(*port, at_b->address(), 100, 1);
    CHECK(filled(inbox.next().datagram->bytes(), 1));
  }
  at_b->stop();
}

TEST_CASE("an interface driven by AF_XDP can be a guest's uplink") {
  if (!kernel_has_xdp()) return;
  const TwoNetworks networks{1500};
  Result<std::unique_ptr<netbuffer::Uplink>> uplink = fail(ErrorKind::io, "not tried");
  networks.a.in([&] { uplink = netbuffer::open_dpdk_nic("net_af_xdp,iface=repl0"); });
  INFO((uplink ? "" : uplink.error().message));
  REQUIRE(uplink);
  const auto port = open_in(networks.b, over_xdp);
  Inbox at_b;
  port->start(at_b);
  // A guest's frame for the port, whose datagrams begin behind type and length.
  std::vector<std::byte> frame(1514, std::byte{0xA5});
  std::ranges::transform(port->address(), frame.begin(),
                         [](std::uint8_t octet) { return std::byte{octet}; });
  frame[6] = std::byte{0x52};
  frame[12] = std::byte{0x88};
  frame[13] = std::byte{0xB5};
  frame[14] = std::byte{1498 >> 8U};
  frame[15] = std::byte{1498 & 0xFFU};
  REQUIRE((*uplink)->send(frame));
  CHECK(at_b.next().datagram->bytes().size() == 1498);
  // The other way; its NIC takes frames for every address.
  const HostAddress guest{0x52, 0x54, 0, 0, 0, 1};
  send(*port, guest, 1000, 3);
  std::vector<std::byte> space(limits::packet_bytes);
  Result<std::optional<std::size_t>> got = std::optional<std::size_t>{};
  for (const auto give_up = now() + 5s; now() < give_up && got && !*got;) {
    got = (*uplink)->receive(space);
    if (got && !*got) std::this_thread::sleep_for(1ms);
  }
  REQUIRE(got);
  REQUIRE(*got);
  CHECK(filled(std::span{space}.subspan(16, 1000), 3));
  port->stop();
}

TEST_CASE("an interface that AF_XDP cannot drive says why") {
  const TwoNetworks networks{1500};
  networks.a.in([] {
    const auto absent = open_dpdk_port({"net_af_xdp,iface=repl9"});
    REQUIRE_FALSE(absent);
    CHECK_THAT(absent.error().message, Contains("interface repl9 does not exist on this host"));
    const auto no_driver = open_dpdk_port({"net_af_nothing,iface=repl0"});
    REQUIRE_FALSE(no_driver);
    CHECK_THAT(no_driver.error().message,
               Contains("DPDK has no such driver here") && Contains("install the package"));
  });
}
