// A second machine that continues from a replica's frozen epoch, beside the replica: nothing of it
// reaches the replica, the images or any network but the calling thread's.
//
//   prepare ─► freeze ─► copy what cannot be shared ─► (go_back ─►) run
//
// What neither of them changes they share: blocks of the disks, and pages of the memory, which the
// clone is given when it touches them. (One with vhost-user NICs has its memory for itself.)
//
// One thread, whose network namespace is the clone's (netbuffer::enter_isolated_network), for life:
// the clone's QEMU dies with it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpointer/clone_state.hpp"
#include "checkpointer/nbd_server.hpp"
#include "config/config.pb.h"
#include "hypervisor/qemu_machine.hpp"
#include "netbuffer/guest_network.hpp"

namespace understudy::checkpointer {

class Clone {
 public:
  /// Starts a QEMU that waits. `directory` takes temporary files. Refuses when this host has too
  /// little memory.
  [[nodiscard]] static Result<std::unique_ptr<Clone>> prepare(CloneSource source,
                                                              const std::string& directory);
  ~Clone();
  Clone(const Clone&) = delete;
  Clone& operator=(const Clone&) = delete;

  /// From now on it is the clone of the newest commit.
  [[nodiscard]] Result<> freeze();
  [[nodiscard]] const FrozenEpoch& frozen() const { return state_->frozen(); }
  /// When that was committed.
  [[nodiscard]] UnixTime committed_at() const { return state_->committed_at(); }
  /// Copies what is not shared, and waits for the disks. Errors: the replica went away.
  [[nodiscard]] Result<> copy(const CheckpointProgress& progress) { return state_->copy(progress); }
  /// To an earlier epoch, of the replica's history.
  [[nodiscard]] Result<HistoryPoint> go_back(Epoch epoch);
  /// Lets the guest run and speak.
  [[nodiscard]] Result<> run();
  /// An error: the clone, or what it reads from, is no more, or this host is short of memory, which
  /// replicas need more. Never waits.
  [[nodiscard]] Result<> check();
  /// What it has of the guest's memory for itself, in bytes; grows while it runs.
  [[nodiscard]] std::uint64_t own_memory() const;
  /// Name and version of what runs it.
  [[nodiscard]] const std::string& hypervisor() const { return machine_->fingerprint().hypervisor; }
  /// A gdbstub, at a port of the calling thread's network or a socket's path; gdb stops the guest.
  [[nodiscard]] Result<> serve_gdb(const std::string& where);

  /// For its bridges: those of the guest's cards, each once.
  [[nodiscard]] static std::vector<std::string> bridges(const config::Guest& guest);

 private:
  explicit Clone(std::unique_ptr<CloneState> state) : state_{std::move(state)} {}
  [[nodiscard]] Result<std::vector<hypervisor::QemuMachine::DiskWiring>> serve_disks();
  [[nodiscard]] Result<> start();
  [[nodiscard]] Result<> check_memory_left();

  // The machine has the memory that the state is copied to: it goes after it.
  std::unique_ptr<hypervisor::QemuMachine> machine_;
  std::unique_ptr<CloneState> state_;
  std::shared_ptr<hypervisor::PagesOnDemand> pages_;  ///< null: all memory is its own
  std::vector<std::unique_ptr<NbdServer>> servers_;   ///< they use the state's disks
  std::shared_ptr<netbuffer::GuestNetwork> network_;
  TimePoint memory_checked_;
};

}  // namespace understudy::checkpointer
