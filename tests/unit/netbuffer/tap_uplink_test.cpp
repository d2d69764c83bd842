// Real taps on a real bridge, in a network namespace that the test's thread makes for itself.
#include "netbuffer/tap_uplink.hpp"

#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <thread>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/announcement.hpp"
#include "netbuffer/host_interface.hpp"

using namespace understudy;
using namespace understudy::netbuffer;
using Catch::Matchers::Contains;

namespace {

constexpr const char* bridge = "br-test";
const auto first_mac = *MacAddress::parse("52:54:00:00:00:01");
const auto second_mac = *MacAddress::parse("52:54:00:00:00:02");

bool make_bridge() {
  const UniqueFd control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (::ioctl(control.get(), SIOCBRADDBR, bridge) != 0) return false;
  ifreq request{};
  std::copy_n(bridge, 7, std::begin(request.ifr_name));
  request.ifr_flags = IFF_UP;
  return ::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0;
}

/// On a thread of its own, which alone enters the namespace; the namespace ends with the thread.
void in_own_network(const std::function<void()>& test) {
  std::string obstacle;
  std::thread{[&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      obstacle = "no right to make a network namespace";
    } else if (!make_bridge()) {
      obstacle = "no bridges in this kernel";
    } else if (auto tap = open_tap("us-probe", bridge, first_mac); !tap) {
      obstacle = tap.error().message;
    } else {
      tap->reset();
      test();
    }
  }}.join();
  if (!obstacle.empty()) WARN("skipped: " << obstacle);
}

/// Frames until the wanted one comes; the kernel may send some of its own.
bool receives(Uplink& uplink, std::span<const std::byte> wanted) {
  std::vector<std::byte> space(limits::packet_bytes);
  while (true) {
    const auto got = uplink.receive(space);
    REQUIRE(got);
    if (*got && std::equal(wanted.begin(), wanted.end(), space.begin(),
                           space.begin() + static_cast<std::ptrdiff_t>(**got))) {
      return true;
    }
    pollfd waiting{uplink.fd(), POLLIN, 0};
    if (!*got && ::poll(&waiting, 1, 5000) != 1) return false;
  }
}

}  // namespace

TEST_CASE("an uplink's name fits the kernel and tells guests and NICs apart") {
  CHECK(uplink_name("pg", 0) == "us-pg-0");
  std::set<std::string> names;
  for (const char* guest : {"pg", "pg2", "a-guest-with-a-long-name", "a-guest-with-a-long-name2",
                            "a-guest-with-another-name"}) {
    for (std::size_t nic = 0; nic < limits::nics_per_guest; ++nic) {
      const auto name = uplink_name(guest, nic);
      CHECK(name.size() < IFNAMSIZ);
      names.insert(name);
    }
  }
  CHECK(names.size() == 5 * limits::nics_per_guest);
}

TEST_CASE("frames pass between taps on one bridge") {
  in_own_network([] {
    auto first = open_tap("us-first", bridge, first_mac);
    REQUIRE(first);
    auto second = open_tap("us-second", bridge, second_mac);
    REQUIRE(second);
    const auto there = announcement(first_mac);
    REQUIRE((*first)->send(there));
    CHECK(receives(**second, there));
    const auto back = announcement(second_mac);
    REQUIRE((*second)->send(back));
    CHECK(receives(**first, back));
    std::vector<std::byte> space(limits::packet_bytes);
    CHECK_FALSE((*first)->send(std::span{there}.first(5)));  // shorter than an Ethernet header
  });
}

TEST_CASE("a tap that cannot be opened says why") {
  in_own_network([] {
    const auto no_bridge = open_tap("us-a", "br-absent", first_mac);
    REQUIRE_FALSE(no_bridge);
    CHECK(no_bridge.error().message ==
          "bridge br-absent does not exist on this host; create it or correct guest.nic.bridge");
    const auto not_a_bridge = open_tap("us-a", "lo", first_mac);
    REQUIRE_FALSE(not_a_bridge);
    CHECK_THAT(not_a_bridge.error().message, Contains("lo is not a bridge"));
    CHECK(::if_nametoindex("us-a") == 0);  // nothing half-made is left behind
    const auto used = open_tap("us-a", bridge, first_mac);
    REQUIRE(used);
    const auto twice = open_tap("us-a", bridge, first_mac);
    REQUIRE_FALSE(twice);
    CHECK(twice.error().kind == ErrorKind::conflict);
    CHECK_THAT(twice.error().message, Contains("tap us-a"));
    CHECK_FALSE(open_tap("a-name-that-is-too-long", bridge, first_mac));
  });
}

TEST_CASE("a tap goes with its object") {
  in_own_network([] {
    auto tap = open_tap("us-a", bridge, first_mac);
    REQUIRE(tap);
    CHECK(::if_nametoindex("us-a") != 0);
    tap->reset();
    CHECK(::if_nametoindex("us-a") == 0);
  });
}

TEST_CASE("the tap's own address is not the guest's") {
  in_own_network([] {
    const auto tap = open_tap("us-a", bridge, first_mac);
    REQUIRE(tap);
    const UniqueFd control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    std::copy_n("us-a", 4, std::begin(request.ifr_name));
    REQUIRE(::ioctl(control.get(), SIOCGIFHWADDR, &request) == 0);
    CHECK(static_cast<unsigned char>(request.ifr_hwaddr.sa_data[0]) == 0xfe);
  });
}
