// A guest's NIC behind DPDK's vhost library, with the test as QEMU and guest.
#include "netbuffer/vhost_port.hpp"

#include <poll.h>

#include <optional>
#include <random>
#include <set>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "config/types.hpp"
#include "hypervisor/own_writes.hpp"
#include "tests/integration/dpdk/vhost_frontend.hpp"

using namespace understudy;
using namespace understudy::netbuffer;
using namespace understudy::tests;

namespace {

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span{text});
}

struct Rig {
  Rig() {
    auto made = connect_vhost_nic(writes);
    if (!made) FAIL(made.error().message);
    port = std::move(made->first);
    guest.emplace(made->second.get());
    REQUIRE(writes->belong_to(guest->ram.get(), guest_ram));
    guest->introduce();
  }

  [[nodiscard]] bool readable() const {
    pollfd waiting{port->fd(), POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 1;
  }
  /// Once the port says that it has something.
  Result<bool> read() {
    pollfd waiting{port->fd(), POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, 5000) == 1);
    return port->read();
  }
  /// What follows a start: an empty look, which asks for kicks.
  void settle() {
    while (readable()) REQUIRE(port->read());
  }
  std::string next() {
    const auto frame = port->front();
    REQUIRE(frame);
    if (!*frame) return "";
    std::string text{reinterpret_cast<const char*>((*frame)->data()), (*frame)->size()};
    port->pop();
    return text;
  }

  std::shared_ptr<hypervisor::OwnWrites> writes = std::make_shared<hypervisor::OwnWrites>();
  std::unique_ptr<GuestPort> port;
  std::optional<VhostFrontend> guest;
};

std::set<std::uint64_t> pages_of(hypervisor::OwnWrites& writes) {
  std::set<std::uint64_t> pages;
  REQUIRE(writes.harvest(~std::uint64_t{0}, [&](std::uint64_t offset, std::uint64_t) {
    pages.insert(offset / page_bytes);
    return Result<>{};
  }));
  return pages;
}

const std::string frame(60, 'f');

}  // namespace

TEST_CASE("vhost: frames go both ways, and nobody polls", "[vhost]") {
  Rig rig;
  CHECK_FALSE(rig.port->takes());
  rig.guest->start();
  rig.settle();
  CHECK_FALSE(rig.readable());
  rig.guest->transmit_frame(frame);
  rig.guest->notify(transmit);
  REQUIRE(*rig.read());
  CHECK(rig.next() == frame);
  CHECK(rig.next().empty());
  CHECK(rig.guest->used(transmit) == 1);
  CHECK(rig.guest->called(transmit));
  rig.settle();
  CHECK_FALSE(rig.readable());

  rig.guest->make_room();
  REQUIRE(rig.port->takes());
  REQUIRE(rig.port->give(bytes(frame)));
  CHECK(rig.guest->used(receive) == 1);
  CHECK(rig.guest->received(0, frame.size()) == frame);
  CHECK(rig.guest->called(receive));
}

TEST_CASE("vhost: a frame waits until the guest's ring has room", "[vhost]") {
  Rig rig;
  rig.guest->start();
  rig.settle();
  REQUIRE(rig.port->give(bytes(frame)));
  CHECK_FALSE(rig.port->takes());
  CHECK_FALSE(rig.port->give(bytes(frame)));
  rig.guest->make_room();
  rig.guest->notify(receive);
  REQUIRE(rig.read());
  CHECK(rig.port->takes());
  CHECK(rig.guest->received(0, frame.size()) == frame);
}

TEST_CASE("vhost: a stop takes what was sent, and then memory is left alone", "[vhost]") {
  Rig rig;
  rig.guest->start();
  rig.settle();
  rig.guest->transmit_frame("sent, but not kicked" + frame);
  CHECK(rig.guest->stop(receive) == 0);
  CHECK(rig.guest->stop(transmit) == 1);
  const std::vector<std::byte> before{rig.guest->memory.bytes().begin(),
                                      rig.guest->memory.bytes().end()};
  CHECK(rig.next() == "sent, but not kicked" + frame);
  CHECK_FALSE(rig.port->takes());
  CHECK_FALSE(rig.port->give(bytes(frame)));
  CHECK_FALSE(*rig.port->read());
  CHECK(std::equal(before.begin(), before.end(), rig.guest->memory.bytes().begin()));

  // On it goes, with a frame for which no kick comes any more.
  rig.guest->transmit_frame("of the next epoch" + frame);
  rig.guest->share_memory();
  rig.guest->start(0, 1);
  REQUIRE(*rig.read());
  CHECK(rig.next() == "of the next epoch" + frame);
}

TEST_CASE("vhost: the pages that the backend writes are known, and no others", "[vhost]") {
  constexpr auto page = [](std::uint64_t address) { return address / page_bytes; };
  const auto used = [&](Ring ring) {
    return page(VhostFrontend::base(ring) + VhostFrontend::used_at);
  };
  Rig rig;
  REQUIRE(rig.writes->track());
  rig.guest->start();
  rig.settle();
  pages_of(*rig.writes);
  rig.guest->transmit_frame(frame);
  rig.guest->notify(transmit);
  REQUIRE(rig.read());
  rig.guest->make_room();
  REQUIRE(rig.port->give(bytes(frame)));
  rig.settle();
  auto expected = std::set{used(receive), used(transmit), page(VhostFrontend::buffer(receive, 0))};
  CHECK(pages_of(*rig.writes) == expected);
  CHECK(pages_of(*rig.writes).empty());

  // A stop, and a start with the same memory, as in each epoch; nothing is lost in between.
  rig.guest->make_room();
  REQUIRE(rig.port->give(bytes(frame)));
  const auto base = rig.guest->stop(receive);
  rig.guest->start(base, rig.guest->stop(transmit));
  rig.settle();
  const auto pages = pages_of(*rig.writes);
  CHECK(pages.count(used(receive)) == 1);
  CHECK(pages.count(page(VhostFrontend::buffer(receive, 1))) == 1);
}

TEST_CASE("vhost: a guest that writes rubbish into its rings harms itself", "[vhost]") {
  Rig rig;
  rig.guest->start();
  std::mt19937_64 random{20261121};
  const auto any = [&](std::uint64_t below) { return random() % below; };
  for (int round = 0; round < 3000; ++round) {
    for (const auto ring : {receive, transmit}) {
      for (std::uint16_t i = 0; i < ring_size; ++i) {
        const auto address = any(4) == 0 ? random() : any(guest_ram);
        const auto size = any(4) == 0 ? random() : any(1U << 17U);
        rig.guest->describe(
            ring, i,
            {address, static_cast<std::uint32_t>(size), static_cast<std::uint16_t>(any(8)),
             static_cast<std::uint16_t>(any(ring_size + 2))});
        rig.guest->offer(ring, static_cast<std::uint16_t>(any(ring_size + 4)));
      }
      if (any(50) == 0) rig.guest->set_available(ring, static_cast<std::uint16_t>(random()));
      rig.guest->notify(ring);
    }
    REQUIRE(rig.port->read());
    static_cast<void>(rig.port->give(bytes(frame)));
    while (true) {
      const auto got = rig.port->front();
      REQUIRE(got);
      if (!*got) break;
      REQUIRE((*got)->size() <= limits::vhost_frame_bytes);
      rig.port->pop();
    }
  }
  CHECK(rig.guest->features() != 0);  // the library's thread lives
}

TEST_CASE("vhost: QEMU connects once, and its end is noticed", "[vhost]") {
  auto writes = std::make_shared<hypervisor::OwnWrites>();
  auto made = connect_vhost_nic(writes);
  REQUIRE(made);
  auto& [port, backend] = *made;
  std::optional<VhostFrontend> guest{backend.get()};
  CHECK(guest->features() != 0);
  CHECK(VhostFrontend{backend.get()}.refused());
  CHECK(guest->features() != 0);
  guest.reset();
  pollfd waiting{port->fd(), POLLIN, 0};
  REQUIRE(::poll(&waiting, 1, 5000) == 1);
  CHECK_FALSE(port->read());
}
