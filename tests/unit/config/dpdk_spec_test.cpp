#include "config/dpdk_spec.hpp"

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::dpdk;

TEST_CASE("devices are told apart by their names") {
  CHECK(std::get<LinuxInterface>(*parse_device("repl0")).name == "repl0");
  CHECK(std::get<LinuxInterface>(*parse_device("eth1.100")).name == "eth1.100");
  CHECK(std::get<PciDevice>(*parse_device("0000:3b:00.1")).address == "0000:3b:00.1");
  CHECK(std::get<PciDevice>(*parse_device("3b:00.1")).address == "0000:3b:00.1");
  const auto xdp = std::get<VirtualDevice>(*parse_device("net_af_xdp,iface=eth1,start_queue=0"));
  CHECK(xdp.driver == "net_af_xdp");
  CHECK(xdp.arguments == "iface=eth1,start_queue=0");
  CHECK(std::get<VirtualDevice>(*parse_device("net_null")).arguments.empty());
  for (const auto* bad : {"", "a/b", "an interface", "sixteen-letters-", "eth0,iface=x", "a=b"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_device(bad));
  }
}

TEST_CASE("a virtual device of an interface is known by it") {
  const auto of = [](const char* text) { return interface_of(*parse_device(text)); };
  CHECK(of("repl0") == "repl0");
  CHECK(of("net_af_xdp,iface=eth1") == "eth1");
  CHECK(of("net_af_xdp,start_queue=0,iface=eth1,queue_count=1") == "eth1");
  CHECK(of("net_af_packet,iface=eth2") == "eth2");
  // Others make the interface themselves, or have none.
  for (const auto* none :
       {"net_tap,iface=tap0", "net_null", "net_af_xdp", "net_af_xdp,xiface=eth1", "0000:3b:00.1"}) {
    CAPTURE(none);
    CHECK_FALSE(of(none));
  }
}

TEST_CASE("a ring's slots hold the interface's frames, its blocks whole slots and whole pages") {
  for (std::size_t mtu = 68; mtu <= 65'535; mtu += 37) {
    const auto ring = packet_ring(mtu, 1U << 20U);
    CAPTURE(mtu, ring.slot_bytes);
    REQUIRE(ring.block_bytes % ring.slot_bytes == 0);
    REQUIRE(ring.block_bytes % 4096 == 0);
    REQUIRE(ring.slots % (ring.block_bytes / ring.slot_bytes) == 0);
    REQUIRE(ring.slots >= 32);
    REQUIRE(ring.slot_bytes <= 65'439);
    const auto whole = mtu + ethernet_header_bytes + vlan_tag_bytes;
    REQUIRE((ring.frame_bytes() >= whole || ring.slot_bytes == 61'440));
  }
  CHECK(packet_ring(1500, 1U << 20U).slots == 512);
  CHECK(packet_ring(65'535, 4U << 20U).slots == 64);
}
