// Uplinks on a bridge in a network namespace, and real TCP through one.
#include "netbuffer/dpdk_uplink.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <numeric>
#include <vector>

#include <catch2/catch.hpp>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "netbuffer/announcement.hpp"
#include "netbuffer/host_interface.hpp"
#include "netbuffer/tap_uplink.hpp"
#include "tests/integration/dpdk/two_networks.hpp"

using namespace understudy;
using namespace understudy::netbuffer;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using understudy::testing::Network;

namespace {

constexpr const char* bridge = "br-test";
const auto first_mac = *MacAddress::parse("52:54:00:00:00:01");
const auto second_mac = *MacAddress::parse("52:54:00:00:00:02");

/// A host: a namespace with a bridge.
struct Host : Network {
  explicit Host(std::size_t mtu = 1500) {
    run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up");
    run("ip link add br-test mtu " + std::to_string(mtu) +
        " type bridge forward_delay 0 mcast_snooping 0 && ip link set br-test up");
  }
  /// Another host of the bridge's network, with an address.
  void plug_in(const Network& other, const std::string& address, std::size_t mtu) const {
    const auto size = " mtu " + std::to_string(mtu);
    run("ip link add client" + size + " type veth peer name eth0" + size + " netns " +
        other.path() + " && ip link set client master br-test up");
    other.run("ip addr add " + address + " dev eth0 && ip link set eth0 up");
  }
};

bool readable(int fd, int milliseconds) {
  pollfd waiting{fd, POLLIN, 0};
  return ::poll(&waiting, 1, milliseconds) == 1;
}

bool receives(Uplink& uplink, std::span<const std::byte> wanted) {
  std::vector<std::byte> space(limits::packet_bytes);
  while (true) {
    const auto got = uplink.receive(space);
    REQUIRE(got);
    if (*got && std::equal(wanted.begin(), wanted.end(), space.begin(),
                           space.begin() + static_cast<std::ptrdiff_t>(**got))) {
      return true;
    }
    if (!*got && !readable(uplink.fd(), 5000)) return false;
  }
}

std::vector<std::byte> frame_to(const MacAddress& to, const MacAddress& from, std::size_t bytes) {
  std::vector<std::byte> frame(bytes);
  for (std::size_t i = 0; i < bytes; ++i) frame[i] = static_cast<std::byte>(i * 7);
  for (std::size_t i = 0; i < 6; ++i) {
    frame[i] = static_cast<std::byte>(to.octets.at(i));
    frame[6 + i] = static_cast<std::byte>(from.octets.at(i));
  }
  frame[12] = std::byte{0x88};
  frame[13] = std::byte{0xb6};
  return frame;
}

using Opened = Result<std::unique_ptr<Uplink>>;

/// A guest: a namespace whose interface is pumped to and from an uplink.
class Guest {
 public:
  Guest(Uplink& uplink, const std::string& address, std::size_t mtu) : uplink_{uplink} {
    inside_.in([&] {
      // A tap on a bridge of its own stands in for QEMU: it gives whole checksums, as a guest does.
      std::ignore =
          std::system(("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link add br0 mtu " +
                       std::to_string(mtu) + " type bridge forward_delay 0; ip addr add " +
                       address + " dev br0; ip link set br0 up")
                          .c_str());
      tap_ = open_tap("tap0", "br0", second_mac);  // whose wire has another MAC than the uplink's
      std::ignore = std::system(("ip link set tap0 mtu " + std::to_string(mtu)).c_str());
    });
    REQUIRE(tap_);
    thread_ = std::thread{[this] { pump(); }};
  }
  ~Guest() {
    stop_ = true;
    thread_.join();
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  [[nodiscard]] const Network& network() const { return inside_; }
  [[nodiscard]] std::size_t longest() const { return longest_; }

 private:
  void pump() {
    std::vector<std::byte> space(limits::packet_bytes);
    const auto move = [&](Uplink& from, Uplink& to) {
      while (true) {
        const auto got = from.receive(space);
        if (!got || !*got) return;
        longest_ = std::max<std::size_t>(longest_, **got);
        std::ignore = to.send(std::span{space}.first(**got));
      }
    };
    while (!stop_) {
      std::array<pollfd, 2> waiting{pollfd{uplink_.fd(), POLLIN, 0},
                                    pollfd{(*tap_)->fd(), POLLIN, 0}};
      ::poll(waiting.data(), waiting.size(), 50);
      move(uplink_, **tap_);
      move(**tap_, uplink_);
    }
  }
  Uplink& uplink_;
  Network inside_;
  Opened tap_ = fail(ErrorKind::io, "not tried");
  std::atomic<bool> stop_{};
  std::atomic<std::size_t> longest_{};
  std::thread thread_;
};

sockaddr_in endpoint(const char* address) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(5000);
  ::inet_pton(AF_INET, address, &at.sin_addr);
  return at;
}

std::uint64_t next(std::uint64_t& state) {
  return state = state * 6364136223846793005ULL + 1442695040888963407ULL;
}

/// Sends `bytes` over TCP from one network to the other; how many arrived as sent, and how fast.
std::pair<std::size_t, double> tcp(const Network& from, const Network& to, const char* address,
                                   std::size_t bytes) {
  UniqueFd listener;
  const auto at = endpoint(address);
  to.in([&] {
    listener = UniqueFd{::socket(AF_INET, SOCK_STREAM, 0)};
    const int yes = 1;
    ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    REQUIRE(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
  });
  const auto begin = now();
  std::thread sender{[&] {
    from.in([&] {
      const UniqueFd socket{::socket(AF_INET, SOCK_STREAM, 0)};
      if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return;
      std::uint64_t state = 1;
      std::vector<std::uint64_t> chunk(8192);
      for (std::size_t sent = 0; sent < bytes; sent += chunk.size() * 8) {
        for (auto& word : chunk) word = next(state);
        const auto* data = reinterpret_cast<const char*>(chunk.data());
        for (std::size_t done = 0; done < chunk.size() * 8;) {
          const auto wrote =
              ::send(socket.get(), data + done, chunk.size() * 8 - done, MSG_NOSIGNAL);
          if (wrote <= 0) return;
          done += static_cast<std::size_t>(wrote);
        }
      }
    });
  }};
  std::size_t good = 0;
  if (readable(listener.get(), 5000)) {
    const UniqueFd socket{::accept(listener.get(), nullptr, nullptr)};
    std::uint64_t state = 1;
    std::vector<std::uint64_t> chunk(8192);
    const auto size = chunk.size() * sizeof chunk[0];
    while (
        readable(socket.get(), 5000) &&
        ::recv(socket.get(), chunk.data(), size, MSG_WAITALL) == static_cast<ssize_t>(size) &&
        std::all_of(chunk.begin(), chunk.end(), [&](auto word) { return word == next(state); })) {
      good += size;
    }
  }
  sender.join();
  const std::chrono::duration<double> took = now() - begin;
  return {good, static_cast<double>(good) * 8 / 1e6 / took.count()};
}

}  // namespace

TEST_CASE("frames pass between uplinks on one bridge") {
  const Host host;
  host.in([] {
    const auto first = open_dpdk_uplink("us-first", bridge, first_mac);
    INFO((first ? "" : first.error().message));
    REQUIRE(first);
    const auto second = open_dpdk_uplink("us-second", bridge, second_mac);
    REQUIRE(second);
    const auto there = announcement(first_mac);
    REQUIRE((*first)->send(there));
    CHECK(receives(**second, there));
    for (const std::size_t bytes : {std::size_t{60}, std::size_t{1514}}) {
      const auto back = frame_to(first_mac, second_mac, bytes);
      REQUIRE((*second)->send(back));
      CHECK(receives(**first, back));
    }
    // No frame of anybody else's: the bridge has learnt where the guest is.
    CHECK_FALSE(readable((*second)->fd(), 50));
    std::vector<std::byte> space(limits::packet_bytes);
    CHECK_FALSE((*first)->send(std::span{there}.first(5)));  // shorter than an Ethernet header
    CHECK_FALSE((*first)->send(std::span{space}.first(4000)));
    const auto whole = frame_to(second_mac, first_mac, 1514);
    REQUIRE((*first)->send(whole));  // it goes on after frames that it refused
    CHECK(receives(**second, whole));
  });
}

TEST_CASE("a burst waits in the uplink, and its descriptor tells of every frame") {
  const Host host;
  host.in([] {
    const auto first = open_dpdk_uplink("us-first", bridge, first_mac);
    const auto second = open_dpdk_uplink("us-second", bridge, second_mac);
    REQUIRE(first);
    REQUIRE(second);
    for (std::size_t i = 0; i < 300; ++i) {
      REQUIRE((*first)->send(frame_to(second_mac, first_mac, 100 + i)));
    }
    std::vector<std::byte> space(limits::packet_bytes);
    for (std::size_t i = 0; i < 300; ++i) {
      REQUIRE(readable((*second)->fd(), 1000));
      const auto got = (*second)->receive(space);
      REQUIRE(got);
      REQUIRE(*got == 100 + i);
    }
    CHECK_FALSE(readable((*second)->fd(), 0));
  });
}

TEST_CASE("an uplink that cannot be opened says why") {
  const Host host;
  host.in([] {
    const auto no_bridge = open_dpdk_uplink("us-a", "br-absent", first_mac);
    REQUIRE_FALSE(no_bridge);
    CHECK(no_bridge.error().message ==
          "bridge br-absent does not exist on this host; create it or correct guest.nic.bridge");
    const auto not_a_bridge = open_dpdk_uplink("us-a", "lo", first_mac);
    REQUIRE_FALSE(not_a_bridge);
    CHECK_THAT(not_a_bridge.error().message, Contains("lo is not a bridge"));
    CHECK(::if_nametoindex("us-a") == 0);  // nothing half-made is left behind
    const auto used = open_dpdk_uplink("us-a", bridge, first_mac);
    REQUIRE(used);
    const auto twice = open_dpdk_uplink("us-a", bridge, first_mac);
    REQUIRE_FALSE(twice);
    CHECK(twice.error().kind == ErrorKind::conflict);
    CHECK_THAT(twice.error().message, Contains("uplink us-a"));
    CHECK_FALSE(open_dpdk_uplink("a-name-that-is-too-long", bridge, first_mac));
    CHECK_FALSE(open_dpdk_nic("0000:7f:1f.7"));
  });
}

TEST_CASE("the interface goes with its object, and an uplink with its interface") {
  const Host host;
  host.in([] {
    auto uplink = open_dpdk_uplink("us-a", bridge, first_mac);
    REQUIRE(uplink);
    CHECK(::if_nametoindex("us-a") != 0);
    uplink->reset();
    CHECK(::if_nametoindex("us-a") == 0);

    const auto lost = open_dpdk_uplink("us-a", bridge, first_mac);
    REQUIRE(lost);
    REQUIRE(std::system("ip link del us-a") == 0);
    CHECK(readable((*lost)->fd(), 1000));
    std::vector<std::byte> space(limits::packet_bytes);
    const auto got = (*lost)->receive(space);
    REQUIRE_FALSE(got);
    CHECK(got.error().kind == ErrorKind::closed);
    CHECK_FALSE((*lost)->send(announcement(first_mac)));
  });
}

// Started by the next test as a process of its own.
TEST_CASE("an uplink that is held until it is killed", "[.victim]") {
  const auto uplink = open_dpdk_uplink("us-a", bridge, first_mac);
  REQUIRE(uplink);
  std::this_thread::sleep_for(30s);
}

TEST_CASE("the interface goes with a killed process") {
  const Host host;
  host.in([] {
    pid_t victim{};
    std::array<char, 15> program{"/proc/self/exe"};
    std::array<char, 10> which{"[.victim]"};
    std::array<char*, 3> words{program.data(), which.data(), nullptr};
    REQUIRE(::posix_spawn(&victim, program.data(), nullptr, nullptr, words.data(), environ) == 0);
    const auto give_up = now() + 10s;
    const auto is_port = [] {
      return std::system("bridge link show dev us-a 2>&1 | grep -q br-test") == 0;
    };
    while (!is_port() && now() < give_up) std::this_thread::sleep_for(10ms);
    std::this_thread::sleep_for(300ms);
    ::kill(victim, SIGKILL);
    ::waitpid(victim, nullptr, 0);
    const auto mine = open_dpdk_uplink("us-a", bridge, first_mac);
    INFO((mine ? "" : mine.error().message));
    CHECK(mine);
  });
}

TEST_CASE("TCP passes whole, in frames of the MTU, whatever the other end leaves to its device") {
  for (const std::size_t mtu : {std::size_t{1500}, std::size_t{9000}}) {
    CAPTURE(mtu);
    const Host host{mtu};
    const Network client;
    host.plug_in(client, "192.0.2.1/24", mtu);
    host.run("ip addr add 192.0.2.3/24 dev br-test");
    Opened uplink = fail(ErrorKind::io, "not tried");
    host.in([&] { uplink = open_dpdk_uplink("us-pg-0", bridge, first_mac); });
    REQUIRE(uplink);
    Guest guest{**uplink, "192.0.2.2/24", mtu};
    constexpr std::size_t bytes = 32U << 20U;
    const auto [in, in_speed] = tcp(client, guest.network(), "192.0.2.2", bytes);
    CHECK(in == bytes);
    const auto [out, out_speed] = tcp(guest.network(), client, "192.0.2.1", bytes);
    CHECK(out == bytes);
    const auto [local, local_speed] = tcp(host, guest.network(), "192.0.2.2", bytes);
    CHECK(local == bytes);
    CHECK(guest.longest() == mtu + 14);
    WARN("MTU " << mtu << ": into the guest " << in_speed << " Mbit/s, out of it " << out_speed
                << ", from its host " << local_speed);
  }
}
