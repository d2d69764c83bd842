#include "hypervisor/qemu_machine.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "config/assert.hpp"
#include "config/limits.hpp"
#include "hypervisor/accelerator.hpp"

namespace understudy::hypervisor {
namespace {

/// Contents are handed on in pieces of this size, so that a first copy of gigabytes stays
/// interruptible.
constexpr std::uint64_t piece_bytes = 1U << 20U;

constexpr auto exit_patience = milliseconds{200};

constexpr std::size_t monitor_count = 3;

Result<UniqueFd> memory_file(const char* name, std::uint64_t size) {
  UniqueFd fd{::memfd_create(name, MFD_CLOEXEC)};
  if (!fd) return fail_errno("memfd_create");
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    return fail_errno(fmt::format("guest memory of {} MiB", size >> 20U));
  }
  return fd;
}

std::uint64_t file_size(const UniqueFd& file) {
  struct stat about {};
  return file && ::fstat(file.get(), &about) == 0 ? static_cast<std::uint64_t>(about.st_size) : 0;
}

struct SocketPair {
  UniqueFd ours;
  UniqueFd theirs;
};

Result<SocketPair> socket_pair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0)
    return fail_errno("socketpair");
  return SocketPair{UniqueFd{fds[0]}, UniqueFd{fds[1]}};
}

/// The error with QEMU's own words, which it often says on its way out.
Error with_complaints(const Error& error, ChildProcess& child) {
  static_cast<void>(child.wait(exit_patience));
  const auto words = child.complaints();
  if (words.empty()) return error;
  return {error.kind, fmt::format("{} (QEMU says: {})", error.message, words)};
}

bool stops_the_guest(const qmp::Event& event) {
  const auto* action = event.data.if_contains("action");
  return action != nullptr && action->is_string() && action->get_string() == "stop";
}

Result<> write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail_errno("giving the guest to QEMU");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return {};
}

}  // namespace

struct QemuMachine::Parts {
  config::Guest guest;
  UniqueFd ram;
  UniqueFd device_file;
  UniqueFd incoming;
  int incoming_number;
  ShimClient shim;
  ChildProcess child;
  std::vector<QmpClient> monitors;
  std::shared_ptr<OwnWrites> own_writes;
};

QemuMachine::QemuMachine(Parts parts)
    : guest_{std::move(parts.guest)},
      ram_{std::move(parts.ram)},
      device_file_{std::move(parts.device_file)},
      incoming_{std::move(parts.incoming)},
      incoming_number_{parts.incoming_number},
      shim_{std::move(parts.shim)},
      child_{std::move(parts.child)},
      qmp_{std::move(parts.monitors.at(0))},
      saves_{std::move(parts.monitors.at(1))},
      continues_{std::move(parts.monitors.at(2))},
      own_writes_{std::move(parts.own_writes)},
      scratch_(piece_bytes) {
  qmp_.on_event([this](const qmp::Event& event) {
    if (event.name == "RESUME") running_ = has_run_ = true;
    if (event.name == "BLOCK_IO_ERROR" && stops_the_guest(event))
      events_.push_back(MachineEvent::disk_failed);
    if (event.name == "STOP") stopped();
    if (event.name == "SHUTDOWN") events_.push_back(MachineEvent::powered_off);
    if (event.name == "RESET") events_.push_back(MachineEvent::reset);
    if (event.name == "GUEST_PANICKED") events_.push_back(MachineEvent::panicked);
  });
}

QemuMachine::~QemuMachine() {
  kill();
}

Result<std::unique_ptr<QemuMachine>> QemuMachine::start(config::Guest guest, Start start,
                                                        Wiring wiring) {
  UNDERSTUDY_ASSERT(wiring.nics.size() == static_cast<std::size_t>(guest.nic_size()),
                    "a socket per NIC");
  UNDERSTUDY_ASSERT(wiring.disks.size() == static_cast<std::size_t>(guest.disk_size()),
                    "a socket per disk");
  UNDERSTUDY_CHECK(DirtyTracker::supported());
  UNDERSTUDY_TRY(const auto choice, choose_accelerator(guest.accelerator()));
  guest.set_accelerator(choice.accelerator);
  UNDERSTUDY_TRY(auto digests, digest_boot_files(guest.boot()));

  UNDERSTUDY_TRY(const auto library, ShimClient::library());
  const auto ram_bytes = std::uint64_t{guest.memory_mib()} << 20U;
  const bool again = start == Start::incoming && file_size(wiring.earlier_memory) == ram_bytes;
  UNDERSTUDY_TRY(auto ram, again ? Result<UniqueFd>{std::move(wiring.earlier_memory)}
                                 : memory_file("guest-ram", ram_bytes));
  wiring.earlier_memory.reset();
  if (wiring.own_writes) UNDERSTUDY_CHECK(wiring.own_writes->belong_to(ram.get(), ram_bytes));
  UNDERSTUDY_TRY(auto device_file, memory_file("device-state", 0));
  std::vector<SocketPair> monitors;
  for (std::size_t i = 0; i < monitor_count; ++i) {
    UNDERSTUDY_TRY(auto pair, socket_pair());
    monitors.push_back(std::move(pair));
  }
  UNDERSTUDY_TRY(auto incoming, socket_pair());
  UNDERSTUDY_TRY(auto shim, ShimClient::create());

  QemuDescriptors descriptors{ram.get(), {}, {}, {}};
  for (const auto& one : monitors) descriptors.monitors.push_back(one.theirs.get());
  for (const auto& nic : wiring.nics) descriptors.nics.push_back(nic.get());
  for (const auto& disk : wiring.disks)
    descriptors.disks.push_back({disk.socket.get(), disk.bytes});
  Launch launch{qemu_command(guest, start, descriptors),
                {"LD_PRELOAD=" + library, fmt::format("UNDERSTUDY_SHIM_FD={}", shim.theirs.get())},
                {ram.get(), device_file.get(), shim.theirs.get(), incoming.theirs.get()}};
  launch.inherited.insert(launch.inherited.end(), descriptors.monitors.begin(),
                          descriptors.monitors.end());
  launch.inherited.insert(launch.inherited.end(), descriptors.nics.begin(), descriptors.nics.end());
  for (const auto& disk : descriptors.disks) launch.inherited.push_back(disk.socket);
  auto child = ChildProcess::start(launch);
  if (!child) return fail(child.error().within("QEMU (Debian: qemu-system-x86)"));
  for (auto& one : monitors) one.theirs.reset();
  shim.theirs.reset();
  wiring.nics.clear();  // QEMU has its ends
  wiring.disks.clear();

  std::vector<QmpClient> clients;
  for (auto& one : monitors) {
    auto client = QmpClient::open(std::move(one.ours), limits::qemu_start);
    if (!client) {
      const auto what =
          fmt::format("QEMU did not start (machine {}, CPU {})", guest.machine(), guest.cpu());
      return fail(with_complaints(client.error(), *child).within(what));
    }
    clients.push_back(std::move(*client));
  }

  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<QemuMachine> machine{
      new QemuMachine{{std::move(guest), std::move(ram), std::move(device_file),
                       std::move(incoming.ours), incoming.theirs.get(), std::move(shim.ours),
                       std::move(*child), std::move(clients), std::move(wiring.own_writes)}}};
  machine->has_earlier_memory_ = again;
  machine->fingerprint_.boot_digests = std::move(digests);
  if (auto learned = machine->learn(); !learned) {
    return fail(with_complaints(learned.error(), machine->child_));
  }
  if (start == Start::incoming)
    UNDERSTUDY_CHECK(machine->qmp_.prepare(machine->incoming_command()));
  return machine;
}

Result<> QemuMachine::learn() {
  UNDERSTUDY_TRY(const auto type,
                 qmp_.execute({"qom-get", {{"path", "/machine"}, {"property", "type"}}}));
  constexpr std::string_view suffix = "-machine";
  std::string machine{type.is_string() ? type.get_string().c_str() : ""};
  if (machine.ends_with(suffix)) machine.resize(machine.size() - suffix.size());
  guest_.set_machine(machine);
  UNDERSTUDY_CHECK(learn_blocks());

  const bool sees_host =
      guest_.accelerator() == config::KVM && (guest_.cpu() == "host" || guest_.cpu() == "max");
  fingerprint_.hypervisor = "QEMU " + qmp_.version();
  fingerprint_.machine = std::move(machine);
  fingerprint_.cpu = guest_.cpu();
  fingerprint_.accelerator = config::Accelerator_Name(guest_.accelerator());
  fingerprint_.cpu_features = sees_host ? host_cpu_features() : std::string{};
  return {};
}

Result<> QemuMachine::learn_blocks() {
  UNDERSTUDY_TRY(const auto text, qmp_.human("info ramblock"));
  UNDERSTUDY_TRY(auto listed, parse_ram_blocks(text));
  std::vector<RamBlock> blocks;
  used_bytes_.clear();
  for (const auto& one : listed) {
    blocks.push_back(one.block);
    used_bytes_.push_back(one.block.used_bytes);
  }
  UNDERSTUDY_TRY(layout_, RamLayout::of(std::move(blocks)));
  UNDERSTUDY_TRY(image_, Mapping::anonymous(layout_.bytes()));
  return image_.overlay_start(ram_.get(), layout_.blocks().front().max_bytes);
}

Result<> QemuMachine::learn_addresses() {
  UNDERSTUDY_TRY(const auto text, qmp_.human("info ramblock"));
  UNDERSTUDY_TRY(const auto listed, parse_ram_blocks(text));
  addresses_.clear();
  for (const auto& one : listed) {
    auto address = one.address;
    if (address == 0) {
      UNDERSTUDY_TRY(address, shim_.block_address(one.block.name));
    }
    addresses_.push_back(address);
  }
  if (addresses_.size() != layout_.blocks().size()) {
    return fail(ErrorKind::conflict, "the machine's RAM blocks have changed since it was started");
  }
  return {};
}

Result<std::unique_ptr<PagesOnDemand>> QemuMachine::fill_on_demand() {
  UNDERSTUDY_ASSERT(!own_writes_, "a backend of ours would find zeros");
  UNDERSTUDY_CHECK(learn_addresses());
  const auto bytes = layout_.blocks().front().max_bytes;
  constexpr int empty = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (::fallocate(ram_.get(), empty, 0, static_cast<off_t>(bytes)) != 0)
    return fail_errno("emptying guest memory");
  UNDERSTUDY_TRY(auto userfault, shim_.userfaultfd());
  return PagesOnDemand::create(std::move(userfault), addresses_.front(), bytes);
}

/// The machine's threads, one for each vCPU.
Result<> QemuMachine::watch_vcpus() {
  UNDERSTUDY_TRY(const auto listed, qmp_.execute({"query-cpus-fast"}));
  std::vector<pid_t> threads;
  if (const auto* cpus = listed.if_array()) {
    for (const auto& cpu : *cpus) {
      const auto* id = cpu.is_object() ? cpu.get_object().if_contains("thread-id") : nullptr;
      if (id != nullptr && id->is_int64()) threads.push_back(static_cast<pid_t>(id->get_int64()));
    }
  }
  UNDERSTUDY_TRY(vcpus_, VcpuWatch::open(child_.pid(), threads));
  return {};
}

Result<> QemuMachine::track() {
  UNDERSTUDY_CHECK(learn_addresses());
  UNDERSTUDY_CHECK(watch_vcpus());
  tracker_.reset();
  UNDERSTUDY_TRY(auto userfault, shim_.userfaultfd());
  UNDERSTUDY_TRY(tracker_, DirtyTracker::create(child_.pid(), std::move(userfault)));
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    UNDERSTUDY_CHECK(tracker_->watch(addresses_[i], layout_.blocks()[i].max_bytes));
  }
  if (own_writes_) UNDERSTUDY_CHECK(own_writes_->track());
  everything_is_dirty_ = true;
  return {};
}

QmpClient::Command QemuMachine::incoming_command() const {
  return {"migrate-incoming", {{"uri", fmt::format("fd:{}", incoming_number_)}}};
}

Result<> QemuMachine::harvest(const PageSink& sink, std::uint64_t max_pages) {
  UNDERSTUDY_ASSERT(tracker_.has_value(), "harvest needs track() first");
  if (std::exchange(everything_is_dirty_, false)) {
    resizable_block_written_ = true;
    return read(sink);
  }
  for (std::size_t block = 0; block < addresses_.size(); ++block) {
    const auto& about = layout_.blocks()[block];
    const auto visit = [&](std::uint64_t start, std::uint64_t size) {
      if (about.used_bytes != about.max_bytes) resizable_block_written_ = true;
      max_pages -= std::min(max_pages, size / page_bytes);
      return yield(block, start - addresses_[block], size, sink);
    };
    UNDERSTUDY_CHECK(tracker_->harvest(addresses_[block], about.max_bytes, max_pages, visit));
  }
  if (!own_writes_) return {};
  return own_writes_->harvest(max_pages, [&](std::uint64_t offset, std::uint64_t size) {
    return yield(0, offset, size, sink);
  });
}

/// Main RAM: the pages that its file holds, whether QEMU has them mapped or not (after a promotion
/// most were written by this process). The other blocks are small.
Result<> QemuMachine::read(const PageSink& sink) {
  const auto size = static_cast<off_t>(layout_.blocks().front().max_bytes);
  for (off_t start = 0; start < size;) {
    start = ::lseek(ram_.get(), start, SEEK_DATA);
    if (start < 0 && errno == ENXIO) break;
    if (start < 0) return fail_errno("finding guest memory in use");
    const off_t end = std::min(::lseek(ram_.get(), start, SEEK_HOLE), size);
    UNDERSTUDY_CHECK(
        yield(0, static_cast<std::uint64_t>(start), static_cast<std::uint64_t>(end - start), sink));
    start = end;
  }
  for (std::size_t block = 1; block < addresses_.size(); ++block) {
    UNDERSTUDY_CHECK(yield(block, 0, layout_.blocks()[block].max_bytes, sink));
  }
  return {};
}

Result<> QemuMachine::yield(std::size_t block, std::uint64_t offset, std::uint64_t size,
                            const PageSink& sink) {
  for (const auto end = offset + size; offset < end;) {
    const auto piece = std::min(piece_bytes, end - offset);
    const PageIndex first{layout_.first_page(block).value() + offset / page_bytes};
    if (block == 0) {
      UNDERSTUDY_CHECK(sink(first, image_.bytes().subspan(offset, piece)));
    } else {
      const auto contents = std::span{scratch_}.first(piece);
      UNDERSTUDY_CHECK(read_guest(addresses_[block] + offset, contents));
      UNDERSTUDY_CHECK(sink(first, contents));
    }
    offset += piece;
  }
  return {};
}

Result<> QemuMachine::read_guest(std::uint64_t address, std::span<std::byte> out) const {
  const iovec here{out.data(), out.size()};
  // SAFETY: the address is only used inside QEMU's address space, by the kernel, which checks it.
  // NOLINTNEXTLINE(performance-no-int-to-ptr): it is no pointer here
  const iovec there{reinterpret_cast<void*>(address), out.size()};
  const auto got = ::process_vm_readv(child_.pid(), &here, 1, &there, 1, 0);
  if (got != static_cast<ssize_t>(out.size())) return fail_errno("reading QEMU's memory");
  return {};
}

Result<> QemuMachine::refresh_used_bytes() {
  UNDERSTUDY_TRY(const auto text, qmp_.human("info ramblock"));
  UNDERSTUDY_TRY(const auto listed, parse_ram_blocks(text));
  used_bytes_.clear();
  for (const auto& one : listed) used_bytes_.push_back(one.block.used_bytes);
  return {};
}

Result<> QemuMachine::serve_gdb(const std::string& where) {
  const auto device = where.starts_with('/') ? fmt::format("unix:{},server=on,wait=off", where)
                                             : fmt::format("tcp::{}", where);
  UNDERSTUDY_TRY(const auto said, qmp_.human("gdbserver " + device));
  if (said.starts_with("Waiting for gdb connection")) return {};
  return fail(ErrorKind::invalid, "QEMU does not serve gdb at {}: {}", where, said);
}

Result<> QemuMachine::promote(const DeviceState& devices) {
  UNDERSTUDY_TRY(const auto head,
                 incoming_head(devices.bytes, fingerprint_.machine, auxiliary_blocks(devices)));
  used_bytes_ = devices.used_bytes;
  auto running = hand_over(head, incoming_tail(devices.bytes));
  if (!running) return fail(with_complaints(running.error(), child_));
  return {};
}

Result<> QemuMachine::hand_over(std::span<const std::byte> head, std::span<const std::byte> tail) {
  UNDERSTUDY_CHECK(qmp_.execute(incoming_command()));
  UNDERSTUDY_CHECK(write_all(incoming_.get(), head));
  UNDERSTUDY_CHECK(write_all(incoming_.get(), tail));
  ::shutdown(incoming_.get(), SHUT_WR);
  return wait_until_running(now() + limits::monitor_reply);
}

Result<> QemuMachine::wait_until_running(TimePoint deadline) {
  while (!has_run_) {
    UNDERSTUDY_CHECK(qmp_.wait_event(deadline));
  }
  return {};
}

std::vector<BlockContents> QemuMachine::auxiliary_blocks(const DeviceState& devices) {
  UNDERSTUDY_ASSERT(devices.used_bytes.size() == layout_.blocks().size(),
                    "used bytes of every block");
  std::vector<BlockContents> blocks;
  for (std::size_t i = 1; i < layout_.blocks().size(); ++i) {
    const auto used = std::min(devices.used_bytes[i], layout_.blocks()[i].max_bytes);
    const auto whole_pages = (used + page_bytes - 1) / page_bytes * page_bytes;
    blocks.push_back({layout_.blocks()[i].name,
                      image().subspan(layout_.first_page(i).value() * page_bytes, whole_pages)});
  }
  return blocks;
}

std::vector<MachineEvent> QemuMachine::poll() {
  const auto hears = [](QmpClient& monitor) { return monitor.poll().has_value(); };
  const bool there = hears(qmp_) && hears(saves_) && hears(continues_);
  if (!there || child_.ended()) events_.push_back(MachineEvent::gone);
  return std::exchange(events_, {});
}

std::string QemuMachine::complaints() {
  return child_.complaints();
}

void QemuMachine::kill() {
  child_.kill();
}

}  // namespace understudy::hypervisor
