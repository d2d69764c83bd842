// The real thread and sockets, with the test as QEMU on one side and as the network on the other.
#include "netbuffer/guest_network.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <string>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "netbuffer/announcement.hpp"
#include "netbuffer/packet_stream.hpp"
#include "netbuffer/stream_port.hpp"
#include "tests/unit/netbuffer/fake_uplink.hpp"

using namespace understudy;
using namespace understudy::netbuffer;
using namespace std::string_literals;

namespace {

constexpr std::size_t hold_bytes = 2 * limits::packet_bytes;

std::string on_stream(const std::string& frame) {
  return text(packet_header(frame.size())) + frame;
}

struct Nic {
  UniqueFd qemu;
  UniqueFd network;  // what is written here arrives for the guest
  std::unique_ptr<Wire> wire = std::make_unique<Wire>();
};

class Rig {
 public:
  explicit Rig(std::size_t count = 1) {
    std::vector<GuestNic> guest_nics;
    for (std::size_t i = 0; i < count; ++i) {
      auto [ours, qemus] = *connect_nic();
      auto [arriving, sending] = seqpacket_pair();
      nics.push_back({std::move(qemus), std::move(sending)});
      guest_nics.push_back({std::move(ours),
                            *MacAddress::parse(fmt::format("52:54:00:00:00:0{}", i)),
                            std::make_unique<FakeUplink>(*nics.back().wire, std::move(arriving))});
    }
    auto started = GuestNetwork::start(std::move(guest_nics), hold_bytes,
                                       {[this](Epoch sealed) { outputs.put(sealed.value()); },
                                        [this](Epoch sealed) { pressures.put(sealed.value()); },
                                        [this](const Error& error) { gone.put(error.message); },
                                        [this](std::span<const GivenFrame> frames) {
                                          for (const auto& given : frames)
                                            inputs.put({given.epoch.value(), text(given.frame)});
                                        }});
    REQUIRE(started);
    network = *started;
  }

  void guest_writes(const std::string& bytes, std::size_t nic = 0) {
    const auto sent = ::send(nics[nic].qemu.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    REQUIRE(sent == static_cast<ssize_t>(bytes.size()));
  }
  void guest_sends(const std::string& frame, std::size_t nic = 0) {
    guest_writes(on_stream(frame), nic);
  }
  void arrives(const std::string& frame) {
    REQUIRE(::send(nics[0].network.get(), frame.data(), frame.size(), 0) ==
            static_cast<ssize_t>(frame.size()));
  }
  /// What the guest's NIC gets next: exactly so many bytes.
  std::string guest_reads(std::size_t count) {
    std::string bytes(count, '\0');
    std::size_t have = 0;
    while (have < count) {
      pollfd waiting{nics[0].qemu.get(), POLLIN, 0};
      REQUIRE(::poll(&waiting, 1, std::chrono::milliseconds{patience}.count()) == 1);
      const auto got = ::recv(nics[0].qemu.get(), bytes.data() + have, count - have, 0);
      REQUIRE(got > 0);
      have += static_cast<std::size_t>(got);
    }
    return bytes;
  }
  Frames left(std::size_t nic = 0) { return nics[nic].wire->take(); }
  Frames left_when(std::size_t count) { return nics[0].wire->take_when(count); }

  std::vector<Nic> nics;
  Mailbox<std::uint64_t> outputs;
  Mailbox<std::uint64_t> pressures;
  Mailbox<std::string> gone;
  Mailbox<std::pair<std::uint64_t, std::string>> inputs;
  std::shared_ptr<GuestNetwork> network;
};

}  // namespace

TEST_CASE("output waits for the commit of its epoch") {
  Rig rig;
  rig.network->hold();
  rig.guest_sends("first");
  rig.guest_sends("second");
  rig.network->seal(Epoch{1});
  rig.guest_sends("third");
  rig.network->seal(Epoch{2});
  auto status = rig.network->status();
  CHECK(status.state == GateState::holding);
  CHECK(status.held_packets == 3);
  CHECK(status.held_bytes == 16);
  CHECK(status.oldest > Duration{});
  CHECK(rig.left().empty());
  rig.network->release(Epoch{1});
  CHECK(rig.left() == Frames{"first", "second"});
  rig.network->release(Epoch{1});
  CHECK(rig.left().empty());
  rig.network->release(Epoch{2});
  CHECK(rig.left() == Frames{"third"});
  status = rig.network->status();
  CHECK(status.held_packets == 0);
  CHECK(status.released_packets == 3);
  CHECK(status.hold_max >= status.hold_p50);
  CHECK(status.hold_p50 > Duration{});
}

TEST_CASE("a packet that is not whole at the seal belongs to the next epoch") {
  Rig rig;
  rig.network->hold();
  const auto stream = on_stream("whole") + on_stream("cut here");
  rig.guest_writes(stream.substr(0, stream.size() - 4));
  rig.network->seal(Epoch{1});
  rig.guest_writes(stream.substr(stream.size() - 4));
  rig.network->seal(Epoch{2});
  rig.network->release(Epoch{1});
  CHECK(rig.left() == Frames{"whole"});
  rig.network->release(Epoch{2});
  CHECK(rig.left() == Frames{"cut here"});
}

TEST_CASE("what was sent before hold waits for epoch 1") {
  Rig rig;
  rig.network->open();
  rig.guest_sends("at once");
  CHECK(rig.left_when(1) == Frames{"at once"});
  rig.network->hold();
  rig.guest_sends("later");
  rig.network->seal(Epoch{1});
  CHECK(rig.left().empty());
  rig.network->release(Epoch{1});
  CHECK(rig.left() == Frames{"later"});
}

TEST_CASE("opening lets everything held leave in order, and the rest pass") {
  Rig rig;
  rig.network->hold();
  rig.guest_sends("committed");
  rig.network->seal(Epoch{1});
  rig.guest_sends("sealed");
  rig.network->seal(Epoch{2});
  rig.network->release(Epoch{1});
  rig.network->open();
  rig.guest_sends("later");
  CHECK(rig.left_when(3) == Frames{"committed", "sealed", "later"});
  CHECK(rig.network->status().held_packets == 0);
}

TEST_CASE("closing drops what is held, and nothing leaves any more") {
  Rig rig;
  rig.network->hold();
  rig.guest_sends("held");
  rig.network->seal(Epoch{1});
  rig.network->close();
  CHECK(rig.network->status().egress_dropped == 1);
  rig.guest_sends("afterwards");
  rig.network->release(Epoch{1});
  rig.network->announce();
  rig.network->hold();
  rig.network->seal(Epoch{2});
  rig.network->close();
  rig.network->stop();
  CHECK(rig.left().empty());
  CHECK(rig.network->status().egress_dropped == 2);
  CHECK(rig.network->status().released_packets == 0);
}

TEST_CASE("a stopped network stays closed") {
  Rig rig;
  rig.network->open();
  rig.network->stop();
  rig.network->stop();
  rig.network->open();
  CHECK(rig.network->status().state == GateState::closed);
  rig.network->hold();
  rig.guest_sends("too late");
  rig.network->seal(Epoch{1});
  rig.network->release(Epoch{1});
  rig.network->announce();
  CHECK(rig.left().empty());
}

TEST_CASE("all NICs share the barrier") {
  Rig rig{3};
  rig.network->hold();
  for (std::size_t i = 0; i < 3; ++i) rig.guest_sends(fmt::format("from {}", i), i);
  rig.network->seal(Epoch{1});
  CHECK(rig.network->status().held_packets == 3);
  rig.network->release(Epoch{1});
  for (std::size_t i = 0; i < 3; ++i) CHECK(rig.left(i) == Frames{fmt::format("from {}", i)});
}

TEST_CASE("the first output of each epoch is told once") {
  Rig rig;
  rig.network->hold();
  rig.guest_sends("1a");
  CHECK(rig.outputs.wait(1) == std::vector<std::uint64_t>{0});
  rig.guest_sends("1b");
  rig.network->seal(Epoch{1});
  rig.guest_sends("2a");
  CHECK(rig.outputs.wait(2) == std::vector<std::uint64_t>{0, 1});
  rig.network->seal(Epoch{2});
  rig.network->seal(Epoch{3});
  rig.guest_sends("4a");
  CHECK(rig.outputs.wait(3) == std::vector<std::uint64_t>{0, 1, 3});
  rig.network->open();
  rig.guest_sends("open");
  CHECK(rig.left_when(5).size() == 5);
  rig.network->stop();
  CHECK(rig.outputs.wait(0).size() == 3);
}

TEST_CASE("output that a verb finds, and not the thread, is told too") {
  Rig rig;
  rig.network->hold();
  const std::string largest(limits::packet_bytes, 'x');
  for (int i = 0; i < 3; ++i) rig.guest_sends(largest);
  rig.network->seal(Epoch{1});
  rig.network->release(Epoch{1});  // makes room for the third
  auto told = rig.outputs.wait(1);
  if (told.back() == 0) told = rig.outputs.wait(2);  // the thread was first
  CHECK(told.back() == 1);
}

TEST_CASE("a full queue makes the guest's NIC wait and loses nothing") {
  Rig rig;
  rig.network->hold();
  std::uint64_t sent = 0;
  std::uint64_t arrived = 0;
  std::string waiting;
  const auto guest_goes_on = [&] {
    while (true) {
      if (waiting.empty())
        waiting = on_stream(fmt::format("{:08} {}", sent++, std::string(900, 'x')));
      const auto took =
          ::send(rig.nics[0].qemu.get(), waiting.data(), waiting.size(), MSG_DONTWAIT);
      if (took < 0) return;
      waiting.erase(0, static_cast<std::size_t>(took));
    }
  };
  for (std::uint64_t epoch = 1; epoch <= 20; ++epoch) {
    guest_goes_on();
    rig.network->seal(Epoch{epoch});
    CHECK(rig.network->status().held_bytes <= hold_bytes);
    CHECK(rig.network->status().full > 0);
    rig.network->release(Epoch{epoch});
    for (const auto& frame : rig.left()) {
      REQUIRE(frame.substr(0, 8) == fmt::format("{:08}", arrived));
      ++arrived;
    }
  }
  CHECK(arrived > 20 * (hold_bytes / 2 / 900));
  CHECK(rig.network->status().egress_dropped == 0);
}

TEST_CASE("a QEMU that dies is told once, and what it sent stays ruled by the gate") {
  Rig rig{2};
  rig.network->hold();
  rig.guest_sends("last words");
  rig.network->seal(Epoch{1});
  rig.nics[0].qemu.reset();
  rig.nics[1].qemu.reset();
  CHECK_THAT(rig.gone.wait(1).at(0), Catch::Matchers::Contains("closed"));
  rig.arrives("nobody is there");
  rig.network->seal(Epoch{2});
  CHECK(rig.left().empty());
  rig.network->release(Epoch{1});
  CHECK(rig.left() == Frames{"last words"});
  rig.network->close();
  rig.network->stop();
  CHECK(rig.gone.wait(0).size() == 1);
}

TEST_CASE("a QEMU that dies while its NIC waits is told too") {
  Rig rig;
  rig.network->hold();
  const std::string largest(limits::packet_bytes, 'x');
  for (int i = 0; i < 3; ++i) rig.guest_sends(largest);
  rig.network->seal(Epoch{1});
  CHECK(rig.network->status().full == 1);
  rig.nics[0].qemu.reset();
  CHECK(rig.gone.wait(1).size() == 1);
  rig.network->release(Epoch{1});
  CHECK(rig.left() == Frames{largest, largest});
}

TEST_CASE("rubbish on a NIC's stream ends that NIC, not the daemon") {
  Rig rig{2};
  rig.network->hold();
  rig.guest_writes("\xff\xff\xff\xff rubbish");
  CHECK_THAT(rig.gone.wait(1).at(0), Catch::Matchers::Contains("4294967295 bytes"));
  rig.guest_sends("unharmed", 1);
  rig.network->seal(Epoch{1});
  rig.network->release(Epoch{1});
  CHECK(rig.left(0).empty());
  CHECK(rig.left(1) == Frames{"unharmed"});
}

TEST_CASE("a frame that the network does not take is counted, and the next one passes") {
  Rig rig;
  rig.network->open();
  rig.guest_sends("r");
  rig.guest_sends("good");
  CHECK(rig.left_when(1) == Frames{"good"});
  CHECK(rig.network->status().egress_dropped == 1);
}

TEST_CASE("while an uplink has no room packets wait, in order, and none is lost") {
  Rig rig;
  auto& wire = *rig.nics[0].wire;
  rig.network->hold();
  rig.guest_sends("held 1");
  rig.guest_sends("held 2");
  rig.network->seal(Epoch{1});
  rig.guest_sends("later");
  rig.network->seal(Epoch{2});
  wire.full = true;
  rig.network->release(Epoch{1});
  CHECK(rig.network->status().held_packets == 3);
  wire.full = false;
  CHECK(rig.left_when(2) == Frames{"held 1", "held 2"});
  wire.full = true;
  rig.network->open();
  rig.guest_sends("after");
  const auto deadline = now() + patience;
  while (rig.network->status().full == 0 && now() < deadline) std::this_thread::yield();
  wire.full = false;
  CHECK(rig.left_when(2) == Frames{"later", "after"});
  CHECK(rig.network->status().egress_dropped == 0);
}

TEST_CASE("near the limit of what is held, input is cut and the epoch asked to end, once") {
  Rig rig;
  rig.network->hold();
  rig.network->seal(Epoch{1});
  const std::string large(limits::packet_bytes - 100, 'x');
  rig.guest_sends("little");
  CHECK(rig.outputs.wait(1).back() <= 1);
  rig.guest_sends(large);
  rig.guest_sends(large);
  CHECK(rig.pressures.wait(1) == std::vector<std::uint64_t>{1});
  rig.arrives("would be answered");
  const auto deadline = now() + patience;
  while (rig.network->status().ingress_cut == 0 && now() < deadline) std::this_thread::yield();
  auto status = rig.network->status();
  CHECK(status.ingress_cut == 1);
  CHECK(status.ingress_packets == 0);
  CHECK(status.hold_limit == hold_bytes);
  rig.network->seal(Epoch{2});
  rig.network->release(Epoch{2});
  rig.network->seal(Epoch{3});
  rig.network->release(Epoch{3});
  CHECK(rig.left_when(3).size() == 3);
  rig.arrives("again");
  CHECK(rig.guest_reads(9) == on_stream("again"));
  CHECK(rig.network->status().egress_dropped == 0);
  for (const auto sealed : rig.pressures.wait(1)) CHECK(sealed < 3);
}

TEST_CASE("input passes at once unless the gate is closed") {
  Rig rig;
  rig.arrives("while closed");
  // The next verb and the thread meet at the lock; only the status says when the frame was met.
  const auto deadline = now() + patience;
  while (rig.network->status().ingress_dropped == 0 && now() < deadline) std::this_thread::yield();
  CHECK(rig.network->status().ingress_dropped == 1);
  rig.network->hold();
  rig.arrives("while holding");
  CHECK(rig.guest_reads(17) == on_stream("while holding"));
  rig.network->open();
  rig.arrives("while open");
  CHECK(rig.guest_reads(14) == on_stream("while open"));
  CHECK(rig.network->status().ingress_packets == 2);
}

TEST_CASE("what a protected guest is given is told of with its epoch, so much and no more") {
  Rig rig;
  const auto give = [&](const std::string& frame) {
    rig.arrives(frame);
    CHECK(rig.guest_reads(packet_header_bytes + frame.size()) == on_stream(frame));
  };
  const std::string large(limits::input_copy_bytes * 2 / 3, 'x');
  rig.network->open();
  give("of an open gate");
  rig.network->hold();
  rig.network->seal(Epoch{1});
  give("first");
  CHECK(rig.inputs.wait(1) == std::vector{std::pair{std::uint64_t{2}, "first"s}});
  rig.network->seal(Epoch{2});
  give(large);
  give(large);
  give("still fits");
  rig.network->seal(Epoch{3});
  give("room again");
  const auto told = rig.inputs.wait(4);
  REQUIRE(told.size() == 4);
  CHECK(told[1] == std::pair{std::uint64_t{3}, large});
  CHECK(told[2].second == "still fits");
  CHECK(told[3] == std::pair{std::uint64_t{4}, "room again"s});
}

TEST_CASE("a frame from elsewhere is given like any other") {
  Rig rig;
  const auto give = [&](std::size_t nic, std::string_view frame) {
    rig.network->give(nic, std::as_bytes(std::span{frame}));
  };
  rig.network->open();
  give(1, "no such NIC");
  give(0, "again");
  CHECK(rig.guest_reads(9) == on_stream("again"));
  const auto status = rig.network->status();
  CHECK(status.ingress_packets == 1);
  rig.network->close();
  give(0, "closed");
  rig.network->close();
  rig.network->open();
  give(0, "and again");
  CHECK(rig.guest_reads(13) == on_stream("and again"));
}

TEST_CASE("a guest that does not read loses frames, never their boundaries") {
  Rig rig;
  rig.network->hold();
  const std::string filler(60'000, 'x');
  const auto deadline = now() + patience;
  while (rig.network->status().ingress_dropped == 0 && now() < deadline) {
    ::send(rig.nics[0].network.get(), filler.data(), filler.size(), MSG_DONTWAIT);
  }
  const auto whole = rig.network->status().ingress_packets;
  REQUIRE(whole > 0);
  // The guest reads again: frames that were taken come whole, then whatever else was on its way.
  for (std::uint64_t i = 0; i < whole; ++i) {
    REQUIRE(rig.guest_reads(packet_header_bytes + filler.size()) == on_stream(filler));
  }
  rig.arrives("last");
  while (true) {
    const auto header = rig.guest_reads(packet_header_bytes);
    if (header == text(packet_header(4))) break;
    REQUIRE(header == text(packet_header(filler.size())));
    REQUIRE(rig.guest_reads(filler.size()) == filler);
  }
  CHECK(rig.guest_reads(4) == "last");
}

TEST_CASE("an uplink that goes away leaves the rest alive") {
  Rig rig{2};
  rig.network->open();
  rig.nics[0].network.reset();
  rig.guest_sends("still sent");
  CHECK(rig.left_when(1) == Frames{"still sent"});
}

TEST_CASE("a guest is announced five times, on every NIC") {
  Rig rig{2};
  rig.network->open();
  rig.network->announce();
  for (std::size_t i = 0; i < 2; ++i) {
    const auto mac = *MacAddress::parse(fmt::format("52:54:00:00:00:0{}", i));
    const auto frames = rig.nics[i].wire->take();
    REQUIRE(frames.size() == 1);  // the first at once
    CHECK(frames[0] == text(announcement(mac)));
  }
  std::size_t later = 0;
  while (later < limits::announcements - 1) {
    const auto frames = rig.left_when(1);
    REQUIRE_FALSE(frames.empty());
    later += frames.size();
  }
  CHECK(later == limits::announcements - 1);
}

TEST_CASE("what cannot work is refused at the start") {
  CHECK_FALSE(GuestNetwork::start({}, limits::packet_bytes - 1, {}));
  Rig rig;
  std::vector<GuestNic> many;
  for (std::size_t i = 0; i <= limits::nics_per_guest; ++i) {
    many.push_back({nullptr, MacAddress{}, nullptr});
  }
  const auto refused = GuestNetwork::start(std::move(many), hold_bytes, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::limit);
}

TEST_CASE("epochs, a busy guest and a busy network at the same time") {
  Rig rig;
  rig.network->hold();
  std::atomic<std::uint64_t> sent{0};
  std::jthread guest{[&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto bytes = on_stream(fmt::format("{:08}", sent.load()));
      // Twelve bytes go into a stream socket whole or not at all.
      if (::send(rig.nics[0].qemu.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) ++sent;
    }
  }};
  std::jthread watcher{[&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      static_cast<void>(rig.network->status());
      ::send(rig.nics[0].network.get(), "ping", 4, MSG_DONTWAIT);
    }
  }};
  std::uint64_t arrived = 0;
  const auto check_order = [&] {
    for (const auto& frame : rig.left()) {
      REQUIRE(frame == fmt::format("{:08}", arrived));
      ++arrived;
    }
  };
  std::uint64_t epoch = 0;
  while (epoch < 300 || arrived < 20'000) {
    rig.network->seal(Epoch{++epoch});
    if (epoch > 2) rig.network->release(Epoch{epoch - 2});
    check_order();
  }
  guest = {};
  watcher = {};
  while (arrived < sent) {
    rig.network->seal(Epoch{++epoch});
    rig.network->release(Epoch{epoch});
    check_order();
  }
  CHECK(arrived == sent);
}
