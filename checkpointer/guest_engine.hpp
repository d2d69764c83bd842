// One guest's life on this host: its machine, its network, its protection or its replica.
//
// A thread of its own owns the machine (QEMU dies with that thread) and does what the control plane
// asks, one request after another. Output is ruled directly, from any thread, at once: closing
// never waits for work that is under way. This class obeys; who may run is decided elsewhere.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>

#include "checkpointer/clone.hpp"
#include "checkpointer/disk_state.hpp"
#include "checkpointer/primary.hpp"
#include "checkpointer/replica.hpp"
#include "checkpointer/rewind.hpp"
#include "config/unique_fd.hpp"
#include "hypervisor/qemu_machine.hpp"
#include "netbuffer/detour.hpp"
#include "netbuffer/guest_network.hpp"

namespace understudy::checkpointer {

// What happens by itself. `Error` says why.
struct GuestPoweredOff {};
struct GuestFailed {
  Error why;
};  ///< QEMU died, hangs or its guest panicked; it is dead now
struct ReplicaReady {
  Epoch epoch;
};  ///< primary: the backup holds its first whole epoch
struct BackupLost {
  Error why;
};  ///< primary: the session is over; output is held
struct StandbyReady {
  Epoch epoch;
};  ///< backup: our replica is whole for the first time
struct StandbyLost {
  Error why;
};  ///< backup: the primary ended the session
using GuestEvent =
    std::variant<GuestPoweredOff, GuestFailed, ReplicaReady, BackupLost, StandbyReady, StandbyLost>;

enum class EnginePhase : std::uint8_t { empty, running, synchronising, protecting, standby };

struct EngineStatus {
  EnginePhase phase{EnginePhase::empty};
  std::string accelerator;
  std::optional<PrimaryStatus> primary;
  std::optional<netbuffer::GateStatus> gate;
  std::string disk_complaints;       ///< what the images of a guest that runs here have refused
  std::size_t disk_waiting_bytes{};  ///< of a replica: not yet in its images
};

class GuestEngine {
 public:
  using Done = std::function<void(Result<>)>;      ///< called on the engine's thread, exactly once
  using Report = std::function<void(GuestEvent)>;  ///< called on any thread; must not block

  /// `state_dir`: where this host remembers what its disk images are worth.
  GuestEngine(std::string name, const std::string& state_dir, Report report);
  ~GuestEngine();
  GuestEngine(const GuestEngine&) = delete;
  GuestEngine& operator=(const GuestEngine&) = delete;

  // --- requests, in order; thread-safe. Each is refused with `conflict` in the wrong phase.
  /// Boots the guest, output closed.
  void start(const config::Guest& guest, DiskTrust trust, Done done);
  /// The same from a checkpoint file, over the guest's disk images. `tell` as CheckpointProgress
  /// has it, on the engine's thread.
  using Tell = std::function<void(const std::string& step, double fraction)>;
  void import_from(const config::Guest& guest, const std::string& path, Tell tell, Done done);
  /// Full synchronisation to a backup, then epochs; done when epoch 1 is sealed.
  void protect(const replication::SenderParties& parties, Term term, Done done);
  /// Ends protection; the guest runs on. The gate stays as it is.
  void end_protection(const std::string& reason, Done done);
  /// Makes the standby machine a running guest whose output is open, or held until open_output. Its
  /// session must have ended.
  enum class Output : std::uint8_t { open, held };
  /// With an order it goes back first; `rewound` says whether it did. What cannot go back runs as
  /// it is, unless the outcome is an error.
  struct Promotion {
    Result<> outcome;
    std::optional<Result<Rewound>> rewound;
  };
  void promote(Output output, std::optional<RewindOrder> rewind,
               std::function<void(Promotion)> done);
  /// Pauses the guest and waits until its backup holds all of it: the moment of the pause. It stays
  /// paused until `resume`; after an error it runs on.
  void hand_over(std::function<void(Result<TimePoint>)> done);
  /// Pauses the guest, or lets it go on. Idempotent.
  void suspend(Done done);
  void resume(Done done);
  /// Kills whatever is here: guest, standby machine, replica. Always succeeds. What has come for a
  /// guest that was handed over is sent after it.
  void stop(Done done);
  /// Compares the guest with its replica while it runs; `order` is told on the engine's thread.
  void verify(VerifyOrder order);

  /// What a clone of the replica here is made from.
  void clone_source(std::function<void(Result<CloneSource>)> done);

  /// Starts a standby machine for this offer, and returns the replica for its session. Blocks. The
  /// offer's guest is as this host shall run it.
  [[nodiscard]] Result<std::shared_ptr<replication::ReplicaEvents>> become_standby(
      const replication::Offer& offer);

  /// The daemon stops: output is closed for good, now; then the guest is killed. Later requests are
  /// refused. Does not wait.
  void begin_stop();

  // --- output, at once; thread-safe
  void close_output();
  void open_output();
  void hold_output();

  /// Sorts what was measured: for those who look, not for those who watch.
  [[nodiscard]] EngineStatus status() const;
  /// nullopt: not protected from here.
  [[nodiscard]] std::optional<ProtectionProgress> progress() const;
  struct Commit {
    Epoch epoch;
    TimePoint at;
  };
  /// The newest of the protection or the replica here; nullopt: there is none.
  [[nodiscard]] std::optional<Commit> last_commit() const;

 private:
  void run();
  using Detours = std::vector<std::shared_ptr<netbuffer::Detour>>;
  [[nodiscard]] Detours detours() const;
  /// Some requests make what is under way pointless, or must not wait for a slow link.
  enum class Urgency : std::uint8_t { in_turn, interrupts };
  struct Posted {
    std::function<void()> work;
    Urgency urgency;
  };
  void post(std::function<void()> work, Urgency urgency = Urgency::in_turn);
  void handle_requests();
  void handle_machine();
  void act();
  void retry_disk();
  void wait(TimePoint until);
  void keep_memory();
  void forget_memory();

  [[nodiscard]] Result<> need_phase(std::initializer_list<EnginePhase> wanted,
                                    std::string_view remedy) const;
  [[nodiscard]] Result<> do_start(const config::Guest& guest, DiskTrust trust);
  [[nodiscard]] Result<> do_import(const config::Guest& guest, const std::string& path,
                                   const Tell& tell);
  [[nodiscard]] Result<> load_checkpoint(const config::Guest& guest, const std::string& path,
                                         const Tell& tell);
  /// What is under way shall end: the daemon does, or something else is wanted.
  [[nodiscard]] bool interrupted() const;
  [[nodiscard]] Result<> may_go_on() const;
  [[nodiscard]] Result<> do_protect(const replication::SenderParties& parties, Term term);
  [[nodiscard]] Result<> do_end_protection(const std::string& reason);
  [[nodiscard]] CloneSource replica_source() const;
  [[nodiscard]] Result<> check_promotion() const;
  [[nodiscard]] Promotion do_promote(Output output, const std::optional<RewindOrder>& order);
  [[nodiscard]] Result<> run_replica();
  [[nodiscard]] Result<TimePoint> do_hand_over();
  [[nodiscard]] Result<> pause_machine();
  [[nodiscard]] Error suspended() const;
  [[nodiscard]] Result<std::shared_ptr<Replica>> make_replica(const replication::Offer& offer);
  /// Null: none is to be kept, or can be.
  [[nodiscard]] std::shared_ptr<History> make_history(const config::Guest& guest) const;
  [[nodiscard]] Result<std::shared_ptr<Replica>> do_become_standby(const replication::Offer& offer);
  void do_stop();
  [[nodiscard]] Result<> open_disks(const config::Guest& guest, DiskMode mode);
  [[nodiscard]] Result<> own_disks(DiskTrust trust);
  [[nodiscard]] Result<> create(const config::Guest& guest, hypervisor::Start start);
  void protection_failed(const Error& why);
  void fail_guest(const Error& why);

  const std::string name_;
  const Report report_;
  const std::string state_dir_;
  const DiskState disk_state_;
  UniqueFd wake_;

  // Of the thread alone.
  std::unique_ptr<hypervisor::QemuMachine> machine_;
  TimePoint due_{TimePoint::max()};
  std::optional<TimePoint> retry_at_;  ///< of a guest that stands still for its disk
  bool suspended_{};
  bool was_shared_{};        ///< another host has, or had, this guest's memory
  UniqueFd earlier_memory_;  ///< of the last machine here that was, until ...
  TimePoint earlier_until_{TimePoint::max()};

  mutable std::mutex mutex_;  ///< for all below
  std::deque<Posted> requests_;
  bool closing_{};   ///< begin_stop was called
  bool stopping_{};  ///< the thread shall end
  EnginePhase phase_{EnginePhase::empty};
  std::string accelerator_;
  std::shared_ptr<netbuffer::GuestNetwork> network_;
  bool announces_{};                   ///< the guest has come from elsewhere: once its output opens
  std::unique_ptr<GuestDisks> disks_;  ///< set while there is a machine; maybe of no disk
  Detours detours_;                    ///< of its NICs
  std::shared_ptr<Primary> primary_;
  std::shared_ptr<Replica> replica_;

  std::thread thread_;
};

}  // namespace understudy::checkpointer
