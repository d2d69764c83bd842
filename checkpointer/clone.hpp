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

#include "checkpointer/clone_state.hpp"
#include "checkpointer/nbd_server.hpp"
#include "config/config.pb.h"
#include "hypervisor/qemu_machine.hpp"
#include "netbuffer/guest_network.hpp"

namespace understudy::checkpointer {

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
  [[nodiscard]] const FrozenEpoch& frozen() const { return state_->frozen(); }
  /// When that was committed.
  [[nodiscard]] UnixTime committed_at() const { return state_->committed_at(); }
  /// Copies a piece of the memory; false: all is there, disks too. Errors: the replica went away.
  [[nodiscard]] Result<bool> copy();
  /// Of the copy, 0 to 1.
  [[nodiscard]] double fraction() const { return state_->fraction(); }
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
  explicit Clone(std::unique_ptr<CloneState> state) : state_{std::move(state)} {}
  [[nodiscard]] Result<std::vector<hypervisor::QemuMachine::DiskWiring>> serve_disks();
  [[nodiscard]] Result<> start();

  // The machine has the memory that the state is copied to: it goes after it.
  std::unique_ptr<hypervisor::QemuMachine> machine_;
  std::unique_ptr<CloneState> state_;
  std::vector<std::unique_ptr<NbdServer>> servers_;  ///< they use the state's disks
  std::shared_ptr<netbuffer::GuestNetwork> network_;
};

}  // namespace understudy::checkpointer
