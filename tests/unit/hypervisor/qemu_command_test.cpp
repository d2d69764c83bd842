#include "hypervisor/qemu_command.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::hypervisor;
using Catch::Matchers::Contains;

namespace {
config::Guest guest() {
  config::Guest guest;
  guest.set_name("pg");
  guest.set_memory_mib(512);
  guest.set_vcpus(2);
  guest.set_machine("pc");
  guest.set_cpu("max");
  guest.set_accelerator(config::TCG);
  guest.mutable_boot()->set_kernel("/k");
  auto* nic = guest.add_nic();
  nic->set_model("e1000");
  nic->set_mac("52:54:00:00:00:01");
  return guest;
}
std::string line(const config::Guest& guest, Start start) {
  return fmt::format("{}", fmt::join(qemu_command(guest, start, {5, {6, 9}, {7}, {}}), " "));
}
}  // namespace

TEST_CASE("active and standby machines differ only in how they start") {
  const auto active = line(guest(), Start::paused);
  const auto standby = line(guest(), Start::incoming);
  CHECK(active.substr(0, active.rfind(" -S")) ==
        standby.substr(0, standby.rfind(" -incoming defer")));
}

TEST_CASE("the command names what the guest is made of") {
  CHECK_THAT(
      line(guest(), Start::paused),
      Contains("-accel tcg,thread=multi -cpu max -smp 2 -m 512M") &&
          Contains("-chardev socket,id=monitor1,fd=9 -mon chardev=monitor1,mode=control") &&
          Contains("size=512M,mem-path=/proc/self/fd/5,share=on") &&
          Contains(
              "addr.type=fd,addr.str=7 -device e1000,id=nic0,netdev=net0,mac=52:54:00:00:00:01") &&
          Contains("-kernel /k") && Contains("-vga none"));
}

TEST_CASE("what happens when a disk fails is said in QEMU's words") {
  auto with_disk = guest();
  with_disk.add_disk()->set_model("ide-hd");
  const auto words = [&](config::ErrorPolicy policy) {
    with_disk.mutable_disk(0)->set_on_error(policy);
    return fmt::format(
        "{}",
        fmt::join(qemu_command(with_disk, Start::paused, {5, {6, 9}, {7}, {{8, 1U << 20U}}}), " "));
  };
  CHECK_THAT(words(config::REPORT), Contains("rerror=report,werror=report"));
  CHECK_THAT(words(config::STOP), Contains("rerror=stop,werror=stop"));
  CHECK_THAT(words(config::ENOSPACE), Contains("rerror=report,werror=enospc"));
  CHECK_THAT(words(config::IGNORE), Contains("rerror=ignore,werror=ignore"));
}

TEST_CASE("a vhost-user NIC connects to the descriptor it was given") {
  auto with = guest();
  with.mutable_nic(0)->set_model("virtio-net-pci");
  with.mutable_nic(0)->set_backend(config::VHOST_USER);
  const std::string nic =
      "-chardev socket,id=vhost0,path=/proc/self/fd/7 -netdev vhost-user,id=net0,chardev=vhost0 "
      "-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01";
  CHECK_THAT(line(with, Start::paused), Contains(nic + ",vectors=0 -kernel"));
  with.set_accelerator(config::KVM);
  CHECK_THAT(line(with, Start::paused), Contains(nic + " -kernel"));
}

TEST_CASE("a comma in a path does not become an option") {
  auto odd = guest();
  odd.set_console_log("/tmp/a,append=off");
  CHECK_THAT(line(odd, Start::paused), Contains("path=/tmp/a,,append=off,append=on"));
}
