#include "checkpointer/clone.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

#include "checkpointer/guest_wiring.hpp"
#include "checkpointer/offer.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

/// Where a card that has a device of its own is connected in the clone's network.
constexpr auto bridge_for_devices = "drill";

std::string bridge_of(const config::Nic& nic) {
  return nic.device().empty() ? nic.bridge() : bridge_for_devices;
}

/// A vhost-user backend has its own mapping of the guest's memory, and would find zeros there.
bool shares_memory(const config::Guest& guest) {
  return std::ranges::none_of(
      guest.nic(), [](const config::Nic& nic) { return nic.backend() == config::VHOST_USER; });
}

/// The same machine for the guest, on taps of the isolated network.
config::Guest isolated(config::Guest guest, const std::string& console_log) {
  for (auto& nic : *guest.mutable_nic()) {
    nic.set_bridge(bridge_of(nic));
    nic.clear_device();
    nic.set_uplink(config::TAP);
  }
  guest.set_console_log(console_log);
  return guest;
}

}  // namespace

std::vector<std::string> Clone::bridges(const config::Guest& guest) {
  std::vector<std::string> result;
  for (const auto& nic : guest.nic()) {
    if (std::ranges::find(result, bridge_of(nic)) == result.end()) result.push_back(bridge_of(nic));
  }
  return result;
}

Result<std::unique_ptr<Clone>> Clone::prepare(CloneSource source, const std::string& directory) {
  const auto own = shares_memory(source.guest) ? 0 : source.replica->layout().bytes();
  UNDERSTUDY_TRY(auto state, CloneState::prepare(std::move(source), directory, own));
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<Clone> clone{new Clone{std::move(state)}};
  UNDERSTUDY_CHECK(clone->start());
  return clone;
}

Result<> Clone::start() {
  const auto& source = state_->source();
  const auto guest = isolated(source.guest, source.console_log);
  UNDERSTUDY_TRY(auto network, wire_guest(guest));
  UNDERSTUDY_TRY(network.wiring.disks, serve_disks());
  UNDERSTUDY_TRY(machine_, hypervisor::QemuMachine::start(guest, hypervisor::Start::incoming,
                                                          std::move(network.wiring)));
  // The first that goes when this host runs out of memory: proc(5).
  std::ofstream{fmt::format("/proc/{}/oom_score_adj", machine_->pid())} << 1000;
  const auto found = differences(machine_->layout(), source.replica->layout());
  if (!found.empty()) return fail(ErrorKind::incompatible, "{}", fmt::join(found, "\n"));
  const auto hold_bytes = std::size_t{guest.protection().hold_limit_kib()} << 10U;
  netbuffer::GuestNetworkEvents events;
  events.on_output = [](Epoch) {};
  events.on_guest_gone = [](const Error&) {};
  UNDERSTUDY_TRY(network_, netbuffer::GuestNetwork::start(std::move(network.nics), hold_bytes,
                                                          std::move(events)));
  return {};
}

Result<std::vector<hypervisor::QemuMachine::DiskWiring>> Clone::serve_disks() {
  std::vector<hypervisor::QemuMachine::DiskWiring> wiring;
  for (const auto& disk : state_->disks()) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
      return fail_errno("socketpair");
    const auto name = hypervisor::disk_export(wiring.size());
    wiring.push_back({UniqueFd{ends[1]}, disk->bytes()});
    servers_.push_back(std::make_unique<NbdServer>(
        UniqueFd{ends[0]}, std::vector<NbdServer::Export>{{name, disk.get()}}));
  }
  return wiring;
}

Clone::~Clone() {
  if (machine_) machine_->kill();
  if (network_) network_->stop();
}

Result<> Clone::freeze() {
  if (shares_memory(state_->source().guest)) {
    UNDERSTUDY_TRY(pages_, machine_->fill_on_demand());
  }
  return state_->freeze(machine_->image(), pages_);
}

Result<HistoryPoint> Clone::go_back(Epoch epoch) {
  return state_->go_back(epoch);
}

Result<> Clone::serve_gdb(const std::string& where) {
  return machine_->serve_gdb(where);
}

Result<> Clone::run() {
  network_->open();
  const auto& frozen = state_->frozen();
  return machine_->promote({frozen.devices, frozen.used_bytes});
}

std::uint64_t Clone::own_memory() const {
  return pages_ ? pages_->given_bytes() : state_->source().replica->layout().bytes();
}

Result<> Clone::check_memory_left() {
  if (now() - memory_checked_ < limits::clone_memory_check) return {};
  memory_checked_ = now();
  return check_memory(limits::clone_memory_reserve / 2, "what runs on this host beside clones");
}

Result<> Clone::check() {
  UNDERSTUDY_CHECK(state_->check());
  UNDERSTUDY_CHECK(check_memory_left());
  for (const auto event : machine_->poll()) {
    if (event == hypervisor::MachineEvent::gone) return fail(ErrorKind::closed, "QEMU is gone");
    if (event == hypervisor::MachineEvent::panicked)
      return fail(ErrorKind::unavailable, "the clone's kernel panicked");
  }
  return {};
}

}  // namespace understudy::checkpointer
