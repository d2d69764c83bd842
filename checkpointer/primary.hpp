// Protection of one running guest: full synchronisation while it runs, then epoch after epoch.
//
//   execute → pre-copy (still running) → pause → barrier → harvest → devices → resume → send → ack
//   → release
//
// The engine's thread calls everything but `status`; commits arrive on the session's thread and
// release the guest's output from there, so that a commit never waits for a pause that is under
// way.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "checkpointer/capture.hpp"
#include "checkpointer/disk_stream.hpp"
#include "checkpointer/epoch_machine.hpp"
#include "checkpointer/epoch_statistics.hpp"
#include "checkpointer/frame_writer.hpp"
#include "checkpointer/pacer.hpp"
#include "checkpointer/verification.hpp"
#include "config/config.pb.h"
#include "hypervisor/machine.hpp"
#include "netbuffer/guest_network.hpp"
#include "replication/checkpoint_sender.hpp"

namespace understudy::checkpointer {

/// How far it has come; costs nothing to ask.
struct ProtectionProgress {
  Epoch committed;
  TimePoint last_commit;
  double sync_fraction{};  ///< of the full synchronisation, an estimate
  bool throttled{};        ///< the backup or the link is slower than the guest writes
  bool link_up{};
};

struct PrimaryStatus : ProtectionProgress {
  EpochSummary epochs;
  EpochTotals totals;
  replication::SenderStatus link;
};

class Primary {
 public:
  struct Events {
    std::function<void()> wake;               ///< something changed: call `act` again
    std::function<void(Epoch)> first_commit;  ///< the replica is fit to be promoted
    std::function<void(const Error&)> lost;   ///< the session is over; output stays held
    std::function<bool()> cancelled;          ///< asked while the link makes us wait
  };

  struct Target {
    replication::SenderParties parties;
    replication::Offer offer;
    GuestDisks* disks{};  ///< none: the guest has no disks; else they outlive this object
  };

  /// Starts tracking and opens the session; the backup starts its standby machine meanwhile.
  [[nodiscard]] static Result<std::unique_ptr<Primary>> open(hypervisor::ActiveMachine& machine,
                                                             netbuffer::OutputGate& gate,
                                                             const config::Protection& settings,
                                                             const Target& target, Events events);
  ~Primary();
  Primary(const Primary&) = delete;
  Primary& operator=(const Primary&) = delete;

  /// Copies everything while the guest runs, pass after pass, until little is left. Then holds
  /// output and seals epoch 1.
  [[nodiscard]] Result<> synchronise();

  /// Does what is due; returns when to be called again at the latest. An error means that capture
  /// has failed: protection must end, and the guest may be paused.
  [[nodiscard]] Result<TimePoint> act();

  /// The epoch after `sealed` has held its first packet. Any thread.
  void output_waits(Epoch sealed, TimePoint since);

  /// The epoch after `sealed` fills the room for held output: it is cut short. Any thread.
  void output_presses(Epoch sealed);

  /// What the guest was given: the backup gets a copy, once it holds an epoch. Any thread.
  void input_given(std::span<const netbuffer::GivenFrame> frames);

  /// Compares the guest with the replica: `act` does it, and tells. One at a time.
  void verify(VerifyOrder order);
  /// Ends it, if there is one.
  void stop_verifying(const Error& why);

  /// Pauses the guest for good, and returns when the backup holds the epoch that ends there: the
  /// moment of the pause. After an error the guest runs on, or capture is broken as above.
  [[nodiscard]] Result<TimePoint> hand_over();

  /// The guest is paused until the backup makes room; `act` will resume it. The caller of `act`.
  [[nodiscard]] bool stalled() const { return stalled_.has_value(); }

  [[nodiscard]] ProtectionProgress progress() const;
  [[nodiscard]] PrimaryStatus status() const;

  /// Ends the session; the guest runs on (a stalled one is resumed), the gate stays as it is.
  [[nodiscard]] Result<> end(const std::string& reason);

 private:
  Primary(hypervisor::ActiveMachine& machine, netbuffer::OutputGate& gate,
          const config::Protection& settings, Events events);

  /// An epoch whose guest is still paused.
  struct Sealed {
    Epoch epoch;
    hypervisor::DeviceState devices;
    TimePoint paused;
    CaptureCounts counts;
  };
  void open_disks(GuestDisks& disks);
  [[nodiscard]] Result<> copy_everything();
  [[nodiscard]] Result<> copy_memory();
  [[nodiscard]] Result<> find_equal_memory();
  void progressed(double fraction);
  /// The running epoch had better end soon. Any thread.
  void hasten();
  [[nodiscard]] Result<replication::Reply> ask(replication::Request request);
  /// Without waiting: the request's number.
  [[nodiscard]] Result<std::uint64_t> send_request(replication::Request request);
  [[nodiscard]] Epoch running() const;
  [[nodiscard]] Epoch sealed_last() const;  ///< under the lock
  [[nodiscard]] Result<Sealed> seal_paused(hypervisor::Then then);
  [[nodiscard]] Result<> send_seal(const Sealed& sealed);
  [[nodiscard]] Result<hypervisor::DeviceState> pause_and_take(Epoch epoch, hypervisor::Then then);
  void account(const Sealed& sealed);
  [[nodiscard]] Result<> seal();
  /// A session that ends under a seal is no failure of capture: whoever is told of it decides.
  [[nodiscard]] Result<> seal_unless_lost();
  [[nodiscard]] Result<> pause(hypervisor::PauseFor purpose);
  [[nodiscard]] Result<> stall();
  [[nodiscard]] Result<> end_stall();
  /// Which epochs are on the backup's disks: then less must be compared another time. Does not
  /// wait.
  [[nodiscard]] Result<> ask_what_is_durable();
  void heard_of_disks(const replication::Reply& reply);
  /// A step of the verification; when the next is due.
  [[nodiscard]] Result<TimePoint> go_on_verifying();
  /// Seals an epoch, and compares the paused machine with the backup's image, block by block.
  /// Blocks the guest for the time it takes to read its memory, but not for a backup that does not
  /// answer: a link that goes down, or `cancelled`, ends the wait.
  [[nodiscard]] Result<VerifyVerdict> verify_memory();
  [[nodiscard]] Result<Sealed> seal_and_ask();
  [[nodiscard]] tl::unexpected<Error> broken(const Error& why);
  /// Waits until `done`, which is called under the lock; a session or link that is down, or
  /// `cancelled`, is an error.
  [[nodiscard]] Result<> wait_until(const std::function<bool()>& done, Duration patience,
                                    std::string_view too_late);
  [[nodiscard]] Result<> run_on(const Sealed& sealed);
  [[nodiscard]] Result<replication::Reply> await_reply(std::uint64_t id);
  /// Also one that says that it failed.
  [[nodiscard]] Result<replication::Reply> await_any_reply(std::uint64_t id);
  /// Whether news of an epoch concerns this protection's running one. Under the lock.
  [[nodiscard]] bool is_running(Epoch epoch) const;
  /// nullopt: the session is over.
  [[nodiscard]] std::optional<Pace> pace() const;
  void on_committed(Epoch epoch);

  hypervisor::ActiveMachine& machine_;
  netbuffer::OutputGate& gate_;
  Events events_;
  Pacer pacer_;
  std::unique_ptr<replication::CheckpointSender> sender_;
  std::optional<FrameWriter> writer_;
  std::optional<Capture> capture_;
  std::optional<DiskStream> disk_stream_;
  GuestDisks* disks_{};
  std::uint64_t disk_bytes_per_second_{};  ///< compared or sent, beside epochs; 0: no limit
  std::unique_ptr<Verification> verification_;
  TimePoint ask_durable_at_;
  PairId pair_;                       ///< of this session's disks, once they are being copied
  std::uint64_t request_{};           ///< the last that was asked, but by number of an epoch
  bool holding_{};                    ///< the gate holds since the first pause
  std::optional<TimePoint> stalled_;  ///< paused since, for want of room
  std::optional<Error> broken_;       ///< capture has failed: the shadow is no longer true
  TimePoint resumed_;
  TimePoint last_seal_;
  EpochStatistics statistics_;

  mutable std::mutex mutex_;  ///< for all below: shared with the session's thread
  std::condition_variable changed_;
  EpochMachine epochs_;
  TimePoint last_commit_;
  Epoch output_epoch_;                     ///< the last epoch known to hold output
  Epoch pressed_epoch_;                    ///< the last one that is to be cut short
  std::optional<TimePoint> output_waits_;  ///< since when it does
  std::optional<replication::Reply> reply_;
  double sync_fraction_{};
  bool link_up_{true};
  bool lost_{};
  bool throttled_{};
};

}  // namespace understudy::checkpointer
