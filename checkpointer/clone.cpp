#include "checkpointer/clone.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "checkpointer/disk_undo.hpp"
#include "checkpointer/guest_wiring.hpp"
#include "checkpointer/offer.hpp"
#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

/// Where a card that has a device of its own is connected in the clone's network.
constexpr auto bridge_for_devices = "drill";

std::string bridge_of(const config::Nic& nic) {
  return nic.device().empty() ? nic.bridge() : bridge_for_devices;
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
  UNDERSTUDY_CHECK(check_memory(source.replica->layout().bytes() + limits::clone_memory_reserve,
                                "a clone of the guest"));
  std::shared_ptr<DiskSnapshot> disks;
  if (!source.disk_bytes.empty()) {
    UNDERSTUDY_TRY(disks, DiskSnapshot::create(directory, source.disk_bytes));
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<Clone> clone{new Clone{std::move(source), std::move(disks)}};
  UNDERSTUDY_CHECK(clone->start(directory));
  return clone;
}

Result<> Clone::start(const std::string& directory) {
  const auto guest = isolated(source_.guest, source_.console_log);
  UNDERSTUDY_TRY(auto network, wire_guest(guest));
  UNDERSTUDY_TRY(network.wiring.disks, serve_disks(directory));
  UNDERSTUDY_TRY(machine_, hypervisor::QemuMachine::start(guest, hypervisor::Start::incoming,
                                                          std::move(network.wiring)));
  const auto found = differences(machine_->layout(), source_.replica->layout());
  if (!found.empty()) return fail(ErrorKind::incompatible, "{}", fmt::join(found, "\n"));
  const auto hold_bytes = std::size_t{guest.protection().hold_limit_kib()} << 10U;
  netbuffer::GuestNetworkEvents events;
  events.on_output = [](Epoch) {};
  events.on_guest_gone = [](const Error&) {};
  UNDERSTUDY_TRY(network_, netbuffer::GuestNetwork::start(std::move(network.nics), hold_bytes,
                                                          std::move(events)));
  return {};
}

Result<std::vector<hypervisor::QemuMachine::DiskWiring>> Clone::serve_disks(
    const std::string& directory) {
  std::vector<hypervisor::QemuMachine::DiskWiring> wiring;
  for (std::size_t i = 0; disks_ && i < disks_->disks(); ++i) {
    UNDERSTUDY_TRY(auto own, ChunkStore::create(directory, disks_->bytes(i)));
    devices_.push_back(std::make_unique<CloneDisk>(disks_, i, std::move(own)));
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
      return fail_errno("socketpair");
    wiring.push_back({UniqueFd{ends[1]}, disks_->bytes(i)});
    servers_.push_back(std::make_unique<NbdServer>(
        UniqueFd{ends[0]},
        std::vector<NbdServer::Export>{{hypervisor::disk_export(i), devices_.back().get()}}));
  }
  return wiring;
}

Clone::~Clone() {
  if (ram_) source_.replica->thaw(ram_, disks_);
  if (machine_) machine_->kill();
  if (network_) network_->stop();
}

Result<> Clone::freeze() {
  auto ram = std::make_shared<RamSnapshot>(source_.replica->ram(), machine_->image());
  UNDERSTUDY_TRY(frozen_, source_.replica->freeze(ram, disks_));
  ram_ = std::move(ram);
  return {};
}

Result<bool> Clone::copy() {
  const bool more = ram_->copy(limits::clone_copy_pages);
  if (more) return true;
  if (!ram_->complete()) return fail(ErrorKind::closed, "the replica is no more");
  source_.replica->thaw(ram_, nullptr);  // others may begin
  if (!disks_) return false;
  const bool settled = disks_->wait_until_settled(limits::clone_disk_step);
  UNDERSTUDY_CHECK(check());
  return !settled;
}

Result<HistoryPoint> Clone::go_back(Epoch epoch) {
  const auto& history = source_.replica->history();
  UNDERSTUDY_ASSERT(history && frozen_.pin, "only a replica with a history has an earlier epoch");
  UNDERSTUDY_TRY(const auto path, history->path(frozen_.epoch, epoch));
  const ImageView image{machine_->image(), frozen_.device_area.bytes()};
  for (const auto& piece : path.memory) {
    UNDERSTUDY_TRY(const auto records, piece->read());
    UNDERSTUDY_CHECK(check_records(records, image.pages()));
    apply_records(records, image, [](std::uint64_t) {});
  }
  const DiskUndo undo{source_.disk_bytes};
  std::vector<BlockDevice*> devices;
  for (const auto& device : devices_) devices.push_back(device.get());
  for (const auto& piece : path.disks) {
    UNDERSTUDY_TRY(const auto records, piece->read());
    UNDERSTUDY_CHECK(check_records(records, undo.blocks()));
    if (const auto error = undo.apply(records, devices))
      return fail_errno("the clone's disks", error.value());
  }
  const auto state = image.devices.first(path.to.device_bytes);
  frozen_.epoch = path.to.epoch;
  frozen_.devices.assign(state.begin(), state.end());
  frozen_.used_bytes = path.to.used_bytes;
  frozen_.pin.reset();
  return path.to;
}

Result<> Clone::serve_gdb(const std::string& where) {
  return machine_->serve_gdb(where);
}

Result<> Clone::run() {
  network_->open();
  return machine_->promote({frozen_.devices, frozen_.used_bytes});
}

Result<> Clone::check() {
  if (disks_) {
    if (const auto why = disks_->broken(); !why.empty())
      return fail(ErrorKind::closed, "the clone's disks: {}", why);
  }
  for (const auto event : machine_->poll()) {
    if (event == hypervisor::MachineEvent::gone) return fail(ErrorKind::closed, "QEMU is gone");
    if (event == hypervisor::MachineEvent::panicked)
      return fail(ErrorKind::unavailable, "the clone's kernel panicked");
  }
  return {};
}

}  // namespace understudy::checkpointer
