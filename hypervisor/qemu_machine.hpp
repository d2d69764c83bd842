// A guest in a stock QEMU, supervised as our child: the adapter of both hypervisor ports.
//
// One thread at a time, and `start` on the thread that owns it for life: QEMU dies with that
// thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "config/config.pb.h"
#include "config/mapping.hpp"
#include "hypervisor/child_process.hpp"
#include "hypervisor/dirty_tracker.hpp"
#include "hypervisor/fingerprint.hpp"
#include "hypervisor/incoming_stream.hpp"
#include "hypervisor/machine.hpp"
#include "hypervisor/own_writes.hpp"
#include "hypervisor/pages_on_demand.hpp"
#include "hypervisor/qemu_command.hpp"
#include "hypervisor/qmp_client.hpp"
#include "hypervisor/ram_blocks.hpp"
#include "hypervisor/shim_client.hpp"
#include "hypervisor/vcpu_watch.hpp"

namespace understudy::hypervisor {

/// Something that a guest or its QEMU did by itself.
enum class MachineEvent : std::uint8_t {
  powered_off,
  reset,
  panicked,
  disk_failed,  ///< it stands still; `resume` repeats the request
  gone
};

class QemuMachine final : public ActiveMachine, public StandbyMachine {
 public:
  struct DiskWiring {
    UniqueFd socket;  ///< QEMU's end
    std::uint64_t bytes;
  };
  /// Everything that a QEMU needs from outside.
  struct Wiring {
    std::vector<UniqueFd> nics;  ///< as QemuDescriptors has them
    std::vector<DiskWiring> disks;
    UniqueFd earlier_memory;  ///< of a former machine, for one that is started incoming; or none
    std::shared_ptr<OwnWrites> own_writes;  ///< where a NIC's backend writes; null: none does
  };

  /// Spawns QEMU, with the guest not yet running. On return `guest` is resolved: accelerator and
  /// machine type are what this host really uses. Errors carry QEMU's own words.
  [[nodiscard]] static Result<std::unique_ptr<QemuMachine>> start(config::Guest guest, Start start,
                                                                  Wiring wiring);

  ~QemuMachine() override;
  QemuMachine(const QemuMachine&) = delete;
  QemuMachine& operator=(const QemuMachine&) = delete;

  [[nodiscard]] const RamLayout& layout() const override { return layout_; }

  [[nodiscard]] Result<> track() override;
  [[nodiscard]] Result<> pause(PauseFor purpose) override;
  [[nodiscard]] Result<> harvest(const PageSink& sink, std::uint64_t max_pages) override;
  [[nodiscard]] Result<> read(const PageSink& sink) override;
  [[nodiscard]] Result<DeviceState> save_devices(Then then) override;
  [[nodiscard]] Result<> resume() override;
  [[nodiscard]] Result<> expect_checkpoint() override;
  [[nodiscard]] bool idle() const override { return vcpus_ && vcpus_->all_asleep(); }

  [[nodiscard]] std::span<std::byte> image() override {
    return image_.bytes().first(layout_.bytes());
  }
  [[nodiscard]] std::span<std::byte> earlier() override {
    return image_.bytes().first(has_earlier_memory_ ? layout_.blocks().front().max_bytes : 0);
  }
  [[nodiscard]] Result<> promote(const DeviceState& devices) override;
  /// Of a machine that was started incoming, and whose memory no backend of ours maps: empties its
  /// main RAM, whose pages it asks for from now on. What is written to `image` goes before.
  [[nodiscard]] Result<std::unique_ptr<PagesOnDemand>> fill_on_demand();

  /// The guest as it was started, with every choice made.
  [[nodiscard]] const config::Guest& guest() const { return guest_; }
  [[nodiscard]] const Fingerprint& fingerprint() const { return fingerprint_; }

  [[nodiscard]] pid_t pid() const { return child_.pid(); }
  /// Descriptors that become readable when `poll` has something to say.
  [[nodiscard]] int monitor_fd() const { return qmp_.fd(); }
  [[nodiscard]] int exit_fd() const { return child_.exit_fd(); }
  /// What happened since the last call; never waits.
  [[nodiscard]] std::vector<MachineEvent> poll();

  /// A gdbstub at a port of its network or a socket's whole path. gdb's going stops the guest.
  [[nodiscard]] Result<> serve_gdb(const std::string& where);

  /// What QEMU wrote to stderr since the last call.
  [[nodiscard]] std::string complaints();

  /// Kills QEMU. Afterwards no instruction of the guest is executed any more.
  void kill();
  /// After it: the guest's main RAM, as it was left.
  [[nodiscard]] UniqueFd take_memory() { return std::move(ram_); }

 private:
  struct Parts;
  explicit QemuMachine(Parts parts);

  [[nodiscard]] Result<> learn();
  [[nodiscard]] Result<> learn_blocks();
  [[nodiscard]] Result<> learn_addresses();
  [[nodiscard]] Result<> watch_vcpus();
  [[nodiscard]] QmpClient::Command save_command() const;
  [[nodiscard]] QmpClient::Command incoming_command() const;
  [[nodiscard]] Result<> stop();
  void stopped();
  [[nodiscard]] Result<> begin_saving();
  [[nodiscard]] Result<> finish_saving();
  [[nodiscard]] Result<> stop_between_ide_transfers();
  [[nodiscard]] Result<bool> ide_awaits_data();
  [[nodiscard]] Result<> yield(std::size_t block, std::uint64_t offset, std::uint64_t size,
                               const PageSink& sink);
  [[nodiscard]] Result<> read_guest(std::uint64_t address, std::span<std::byte> out) const;
  [[nodiscard]] Result<> refresh_used_bytes();
  [[nodiscard]] Result<> read_device_state();
  [[nodiscard]] Result<> hand_over(std::span<const std::byte> head,
                                   std::span<const std::byte> tail);
  [[nodiscard]] Result<> wait_until_running(TimePoint deadline);
  [[nodiscard]] std::vector<BlockContents> auxiliary_blocks(const DeviceState& devices);

  config::Guest guest_;
  Fingerprint fingerprint_;
  UniqueFd ram_;
  bool has_earlier_memory_{};
  UniqueFd device_file_;
  UniqueFd incoming_;
  int incoming_number_;  ///< QEMU's end, as QEMU calls it
  ShimClient shim_;
  ChildProcess child_;
  /// QEMU's monitors: each has one command of a checkpoint prepared, `qmp_` its `stop`.
  QmpClient qmp_;
  QmpClient saves_;
  QmpClient continues_;

  RamLayout layout_;
  std::vector<std::uint64_t>
      addresses_;  ///< of the blocks in QEMU's address space; active machine only
  Mapping image_;  ///< main RAM shared with QEMU, the rest ours alone
  std::optional<DirtyTracker> tracker_;
  std::optional<VcpuWatch> vcpus_;  ///< since track()
  std::shared_ptr<OwnWrites> own_writes_;
  bool everything_is_dirty_{};
  bool resizable_block_written_{};
  std::vector<std::byte> scratch_;

  std::vector<std::byte> devices_;
  std::vector<std::uint64_t> used_bytes_;
  std::optional<QmpClient::Ticket> saving_;  ///< of saves_
  bool save_when_stopped_{};                 ///< by the `stop` under way
  bool running_{};
  bool has_run_{};  ///< it may have stopped since
  std::vector<MachineEvent> events_;
};

}  // namespace understudy::hypervisor
