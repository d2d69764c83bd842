// QemuMachine: a checkpoint's pause, from `stop` to `cont`.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "config/assert.hpp"
#include "config/limits.hpp"
#include "hypervisor/ide_ports.hpp"
#include "hypervisor/qemu_machine.hpp"

namespace understudy::hypervisor {
namespace {

constexpr int ide_pauses = 8;  // tries to pause a machine between two IDE transfers
constexpr auto ide_progress = milliseconds{1};

}  // namespace

Result<> QemuMachine::pause(PauseFor purpose) {
  if (!running_) return {};
  const auto& disks = guest_.disk();
  const bool has_ide =
      std::ranges::any_of(disks, [](const auto& disk) { return disk.model().starts_with("ide-"); });
  const bool saves = purpose == PauseFor::checkpoint;
  save_when_stopped_ = saves && !has_ide;
  // Whatever for: it may be saved before it runs again.
  UNDERSTUDY_CHECK(has_ide ? stop_between_ide_transfers() : stop());
  return saves ? begin_saving() : Result<>{};
}

/// QEMU says so before it has answered to `stop`, and saves when it has.
void QemuMachine::stopped() {
  running_ = false;
  if (std::exchange(save_when_stopped_, false))
    static_cast<void>(begin_saving());  // pause() tries again
}

Result<> QemuMachine::stop() {
  const auto reply = qmp_.execute({"stop"});
  save_when_stopped_ = false;
  UNDERSTUDY_CHECK(reply);
  running_ = false;
  return {};
}

/// See ide_ports.hpp. One that transfers by PIO may be saved at any moment, and is after some
/// tries.
Result<> QemuMachine::stop_between_ide_transfers() {
  for (int left = ide_pauses;; --left) {
    UNDERSTUDY_CHECK(stop());
    UNDERSTUDY_TRY(const bool awaits, ide_awaits_data());
    if (!awaits || left == 1) return {};
    UNDERSTUDY_CHECK(resume());
    std::this_thread::sleep_for(ide_progress);
  }
}

Result<bool> QemuMachine::ide_awaits_data() {
  for (const auto port : ide_status_ports) {
    UNDERSTUDY_TRY(const auto said, qmp_.human(read_port(port)));
    UNDERSTUDY_TRY(const bool awaits, awaits_data(said));
    if (awaits) return true;
  }
  return false;
}

QmpClient::Command QemuMachine::save_command() const {
  // `live: false` keeps the block devices active here; the guest will go on.
  return {"xen-save-devices-state",
          {{"filename", fmt::format("/proc/self/fd/{}", device_file_.get())}, {"live", false}}};
}

Result<DeviceState> QemuMachine::save_devices(Then then) {
  UNDERSTUDY_ASSERT(!running_, "devices are saved while the guest is paused");
  auto saved = finish_saving();
  if (saved && std::exchange(resizable_block_written_, false)) saved = refresh_used_bytes();
  if (then == Then::run_on) {
    running_ = true;  // before events: it may stop at once
    UNDERSTUDY_CHECK(continues_.execute({"cont"}));
  }
  UNDERSTUDY_CHECK(saved);
  UNDERSTUDY_CHECK(read_device_state());
  return DeviceState{devices_, used_bytes_};
}

Result<> QemuMachine::begin_saving() {
  if (saving_) return {};
  UNDERSTUDY_TRY(saving_, saves_.send(save_command()));
  return {};
}

Result<> QemuMachine::finish_saving() {
  UNDERSTUDY_CHECK(begin_saving());
  UNDERSTUDY_CHECK(saves_.await(*std::exchange(saving_, std::nullopt), limits::monitor_reply));
  return {};
}

Result<> QemuMachine::expect_checkpoint() {
  UNDERSTUDY_CHECK(qmp_.poll());  // it was told what the others were
  UNDERSTUDY_CHECK(qmp_.prepare({"stop"}));
  UNDERSTUDY_CHECK(saves_.prepare(save_command()));
  return continues_.prepare({"cont"});
}

Result<> QemuMachine::read_device_state() {
  struct stat about {};
  if (::fstat(device_file_.get(), &about) != 0) return fail_errno("device state");
  const auto size = static_cast<std::size_t>(about.st_size);
  if (size > limits::device_state_bytes) {
    return fail(ErrorKind::limit, "the device state has {} bytes; {} are supported", size,
                limits::device_state_bytes);
  }
  devices_.resize(size);
  const auto got = ::pread(device_file_.get(), devices_.data(), size, 0);
  if (got != static_cast<ssize_t>(size)) return fail_errno("reading the device state");
  return {};
}

Result<> QemuMachine::resume() {
  if (saving_) UNDERSTUDY_CHECK(finish_saving());
  if (running_) return {};
  running_ = true;  // before events: it may stop at once
  UNDERSTUDY_CHECK(qmp_.execute({"cont"}));
  return {};
}

}  // namespace understudy::hypervisor
