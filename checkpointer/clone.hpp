// A second machine that continues from a replica's frozen epoch, beside the replica: nothing of it
// reaches the replica, the images or any network but the calling thread's.
//
//   prepare ─► freeze ─► copy, again and again until all is there ─► (go_back ─►) run
//
// One thread, whose network namespace is the clone's (netbuffer::enter_isolated_network), for life:
// the clone's QEMU dies with it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpointer/clone_disk.hpp"
#include "checkpointer/disk_snapshot.hpp"
#include "checkpointer/nbd_server.hpp"
#include "checkpointer/replica.hpp"
#include "config/config.pb.h"
#include "hypervisor/qemu_machine.hpp"
#include "netbuffer/guest_network.hpp"

namespace understudy::checkpointer {

/// What is cloned: the replica that is here, and the guest that it is one of.
struct CloneSource {
  std::shared_ptr<Replica> replica;
  config::Guest guest;  ///< as its standby was started
  std::vector<std::uint64_t> disk_bytes;
  std::string console_log{};  ///< of the clone; empty: none
};

class Clone {
 public:
  /// Starts a QEMU that waits. `directory` takes temporary files. Refuses when this host has too
  /// little memory for a second copy.
  [[nodiscard]] static Result<std::unique_ptr<Clone>> prepare(CloneSource source,
                                                              const std::string& directory);
  ~Clone();
  Clone(const Clone&) = delete;
  Clone& operator=(const Clone&) = delete;

  /// From now on it is the clone of the newest commit.
  [[nodiscard]] Result<> freeze();
  [[nodiscard]] const FrozenEpoch& frozen() const { return frozen_; }
  /// Copies a piece of the memory; false: all is there, disks too. Errors: the replica went away.
  [[nodiscard]] Result<bool> copy();
  /// Of the copy, 0 to 1.
  [[nodiscard]] double fraction() const { return ram_->fraction(); }
  /// To an earlier epoch, of the replica's history.
  [[nodiscard]] Result<HistoryPoint> go_back(Epoch epoch);
  /// Lets the guest run and speak.
  [[nodiscard]] Result<> run();
  /// An error: the clone, or what it reads from, is no more. Never waits.
  [[nodiscard]] Result<> check();
  /// Name and version of what runs it.
  [[nodiscard]] const std::string& hypervisor() const { return machine_->fingerprint().hypervisor; }
  /// A gdbstub, at a port of the calling thread's network or a socket's path; gdb stops the guest.
  [[nodiscard]] Result<> serve_gdb(const std::string& where);

  /// For its bridges: those of the guest's cards, each once.
  [[nodiscard]] static std::vector<std::string> bridges(const config::Guest& guest);

 private:
  Clone(CloneSource source, std::shared_ptr<DiskSnapshot> disks)
      : source_{std::move(source)}, disks_{std::move(disks)} {}
  [[nodiscard]] Result<std::vector<hypervisor::QemuMachine::DiskWiring>> serve_disks(
      const std::string& directory);
  [[nodiscard]] Result<> start(const std::string& directory);

  CloneSource source_;
  std::shared_ptr<DiskSnapshot> disks_;  ///< null: the guest has none
  std::vector<std::unique_ptr<CloneDisk>> devices_;
  std::vector<std::unique_ptr<NbdServer>> servers_;  ///< they use the devices
  std::shared_ptr<netbuffer::GuestNetwork> network_;
  std::unique_ptr<hypervisor::QemuMachine> machine_;
  std::shared_ptr<RamSnapshot> ram_;
  FrozenEpoch frozen_;
};

}  // namespace understudy::checkpointer
