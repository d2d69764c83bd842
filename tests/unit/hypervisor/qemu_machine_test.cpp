// The real QEMU with a guest of forty instructions (tests/guests/dirtier.S).
#include "hypervisor/qemu_machine.hpp"

#include <sys/socket.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::hypervisor;
using Catch::Matchers::Contains;

namespace {

constexpr std::uint64_t counter_at = 0x200000;
constexpr std::uint64_t work_at = 0x400000;

config::Guest dirtier(const std::string& nic) {
  config::Guest guest;
  guest.set_name("dirtier");
  guest.set_memory_mib(64);
  guest.set_vcpus(1);
  guest.set_machine("pc");
  guest.set_cpu("max");
  guest.set_accelerator(config::AUTO);
  guest.set_display(config::VGA);
  guest.mutable_boot()->set_kernel(DIRTIER);
  if (!nic.empty()) {
    guest.add_nic()->set_model(nic);
    guest.mutable_nic(0)->set_mac("52:54:00:00:00:01");
  }
  return guest;
}

struct Nic {
  UniqueFd ours;
  QemuMachine::Wiring wiring;
};

Nic wire(std::size_t nics) {
  Nic nic;
  if (nics == 0) return nic;
  std::array<int, 2> fds{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
  nic.ours = UniqueFd{fds[0]};
  nic.wiring.nics.emplace_back(fds[1]);
  return nic;
}

std::uint32_t word(std::span<const std::byte> memory, std::uint64_t at) {
  std::uint32_t value{};
  std::memcpy(&value, memory.data() + at, sizeof value);
  return value;
}

PageSink copier(std::span<std::byte> image) {
  return [image](PageIndex first, std::span<const std::byte> contents) {
    std::memcpy(image.data() + first.value() * page_bytes, contents.data(), contents.size());
    return Result<>{};
  };
}

void copy_to(std::span<std::byte> image, QemuMachine& machine) {
  REQUIRE(machine.harvest(copier(image), all_pages));
}

/// Until the guest has finished `more` rounds, which this test reads from the outside.
void let_it_work(QemuMachine& machine, std::uint32_t more) {
  const auto target = word(machine.image(), counter_at) + more;
  for (int i = 0; i < 10000 && word(machine.image(), counter_at) < target; ++i) {
    std::this_thread::sleep_for(milliseconds{1});
  }
  REQUIRE(word(machine.image(), counter_at) >= target);
}

/// What a correct replica must equal.
std::vector<std::byte> whole(QemuMachine& machine) {
  std::vector<std::byte> image(machine.layout().bytes());
  REQUIRE(machine.read(copier(image)));
  return image;
}

}  // namespace

TEST_CASE("a guest is copied epoch by epoch and goes on in another QEMU", "[qemu]") {
  const auto model =
      GENERATE("virtio-net-pci", "virtio-net-pci,disable-modern=on", "e1000", "rtl8139");
  auto here = wire(1);
  auto there = wire(1);
  auto started = QemuMachine::start(dirtier(model), Start::paused, std::move(here.wiring));
  if (!started) FAIL(started.error().message);
  auto& active = **started;
  auto waiting = QemuMachine::start(active.guest(), Start::incoming, std::move(there.wiring));
  if (!waiting) FAIL(waiting.error().message);
  auto& standby = **waiting;
  CHECK(differences(active.layout(), standby.layout()).empty());
  CHECK(differences(active.fingerprint(), standby.fingerprint()).empty());
  CHECK(active.layout().blocks().size() >= 8);  // firmware, VGA, ACPI, option ROMs

  REQUIRE(active.resume());
  REQUIRE(active.track());
  copy_to(standby.image(), active);  // while it runs
  DeviceState devices{};
  for (int epoch = 0; epoch < 20; ++epoch) {
    let_it_work(active, 2);
    copy_to(standby.image(), active);
    REQUIRE(active.pause(PauseFor::checkpoint));
    copy_to(standby.image(), active);
    auto saved = active.save_devices(epoch < 19 ? Then::run_on : Then::stay_paused);
    if (!saved) FAIL(saved.error().message);
    devices = *saved;
    if (epoch % 3 != 0 && epoch < 19) REQUIRE(active.expect_checkpoint());
  }
  const auto rounds = word(active.image(), counter_at);
  CHECK(word(standby.image(), counter_at) == rounds);
  const auto original = whole(active);
  const auto replica = standby.image();
  CHECK(std::equal(original.begin(), original.end(), replica.begin(), replica.end()));

  const std::vector<std::byte> state{devices.bytes.begin(), devices.bytes.end()};
  const auto before = now();
  const auto promoted = standby.promote({state, devices.used_bytes});
  if (!promoted) FAIL(promoted.error().message);
  WARN(model << ": promoted in " << in_microseconds(now() - before).count() << " us");
  let_it_work(standby, 3);
  CHECK(word(standby.image(), counter_at) >= rounds + 3);
  CHECK(word(standby.image(), work_at) >= rounds + 2);

  // The survivor can be protected in turn: its own full copy equals its memory.
  REQUIRE(standby.pause(PauseFor::suspension));
  REQUIRE(standby.track());
  const auto again = whole(standby);
  CHECK(word(again, counter_at) == word(standby.image(), counter_at));
  CHECK(std::equal(again.begin() + work_at, again.begin() + work_at + 64 * page_bytes,
                   standby.image().begin() + work_at));
}

TEST_CASE("a checkpoint that was expected hinders nothing else", "[qemu]") {
  auto started = QemuMachine::start(dirtier(""), Start::paused, wire(0).wiring);
  if (!started) FAIL(started.error().message);
  auto& machine = **started;
  REQUIRE(machine.expect_checkpoint());
  REQUIRE(machine.expect_checkpoint());
  REQUIRE(machine.resume());
  REQUIRE(machine.track());
  let_it_work(machine, 1);
  REQUIRE(machine.expect_checkpoint());
  CHECK(machine.serve_gdb("/no/such/place").error().kind == ErrorKind::invalid);
  REQUIRE(machine.expect_checkpoint());
  REQUIRE(machine.pause(PauseFor::suspension));
  REQUIRE(machine.save_devices(Then::stay_paused));
  REQUIRE(machine.resume());
  let_it_work(machine, 1);
  REQUIRE(machine.expect_checkpoint());
  REQUIRE(machine.pause(PauseFor::checkpoint));
  REQUIRE(machine.save_devices(Then::run_on));
  let_it_work(machine, 1);
  CHECK(machine.poll().empty());
}

TEST_CASE("what QEMU refuses is told in its own words", "[qemu]") {
  auto guest = dirtier("");
  SECTION("machine") {
    guest.set_machine("vax");
    CHECK_THAT(QemuMachine::start(guest, Start::paused, {}).error().message, Contains("vax"));
  }
  SECTION("device") {
    guest = dirtier("ne9000");
    CHECK_THAT(QemuMachine::start(guest, Start::paused, wire(1).wiring).error().message,
               Contains("ne9000"));
  }
  SECTION("no QEMU") {
    const std::string path = ::getenv("PATH");
    ::setenv("PATH", "/nonexistent", 1);
    CHECK_THAT(QemuMachine::start(guest, Start::paused, {}).error().message,
               Contains("(Debian: qemu-system-x86)") && Contains("No such file"));
    ::setenv("PATH", path.c_str(), 1);
  }
  SECTION("kernel file") {
    guest.mutable_boot()->set_kernel("/nonexistent/kernel");
    CHECK_THAT(QemuMachine::start(guest, Start::paused, {}).error().message,
               Contains("/nonexistent/kernel"));
  }
}

TEST_CASE("a QEMU that dies is noticed, and so is rubbish as device state", "[qemu]") {
  auto machine = QemuMachine::start(dirtier(""), Start::incoming, {});
  REQUIRE(machine);
  SECTION("death") {
    REQUIRE(::kill((*machine)->pid(), SIGKILL) == 0);
    std::vector<MachineEvent> events;
    while (events.empty()) events = (*machine)->poll();
    CHECK(events.back() == MachineEvent::gone);
    CHECK_FALSE((*machine)->resume());
  }
  SECTION("rubbish") {
    std::vector<std::byte> state(1000, std::byte{7});
    const auto used = std::vector<std::uint64_t>((*machine)->layout().blocks().size(), 4096);
    CHECK_FALSE((*machine)->promote({state, used}));
    constexpr std::array<unsigned char, 8> head{'Q', 'E', 'V', 'M', 0, 0, 0, 3};
    std::memcpy(state.data(), head.data(), head.size());
    const auto refused = (*machine)->promote({state, used});
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().message, Contains("QEMU says"));
  }
}
