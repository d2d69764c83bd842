// One guest on this host: its role (which decides), its engine (which does) and the operator's call
// that waits for both. Runs on the io_context's thread, but for `accept`.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "checkpointer/guest_engine.hpp"
#include "config/settings.hpp"
#include "failover/control.pb.h"
#include "failover/control_server.hpp"
#include "failover/guest_role.hpp"
#include "failover/record.hpp"

namespace understudy::failover {

class GuestHost {
 public:
  /// What a guest needs of its daemon; must outlive it.
  struct Daemon {
    boost::asio::io_context& io;
    const Settings& settings;
    RecordBook& book;
    std::function<void(const peer::Message&)> send;
    /// Ends the replica's session: nothing is acknowledged afterwards.
    std::function<void(const std::string& guest, const std::string& why)> end_session;
    std::shared_ptr<replication::Transport> transport;  ///< how backups are reached
    std::string copying{};  ///< the guest whose first copy is on its way from here; empty: none
  };

  GuestHost(std::string name, Daemon& daemon);

  /// Lets the role look at everything anew, and does what it says.
  void decide();
  /// A view has come: notes the moment if our replica's active host is missing in it.
  void on_view(const View& view);
  void tick();

  void start(std::shared_ptr<ControlCall> call);
  /// The same from a checkpoint file, which has been checked: check_import first.
  void import_from(std::shared_ptr<ControlCall> call);
  [[nodiscard]] Result<> check_import() const { return role_.check_start(daemon_.book); }
  void stop(std::shared_ptr<ControlCall> call);
  void protect(std::shared_ptr<ControlCall> call);
  void unprotect(std::shared_ptr<ControlCall> call);
  void switch_over(std::shared_ptr<ControlCall> call);
  void verify(std::shared_ptr<ControlCall> call);

  /// Of this guest, anything: running, a replica, or on its way.
  [[nodiscard]] bool is_here() const { return role_.presence() != Presence::none; }
  /// The host is to stay empty: nothing starts by itself.
  void drained(bool drained) { role_.drained(drained); }
  [[nodiscard]] bool runs_here() const { return role_.presence() == Presence::running; }
  /// The records are: outline() is the truth.
  [[nodiscard]] bool agreed() const { return daemon_.book.ready(); }
  /// Whether the replica that counts is here; else where, and what to do.
  [[nodiscard]] Result<> check_replica() const;
  /// For a clone of it; `done` on the io_context's thread.
  void clone_source(std::function<void(Result<checkpointer::CloneSource>)> done);

  /// The switchover to this host that follows on the record of now goes back first. `done`: it has
  /// been promoted, rewound or not, or by another record, and not rewound.
  using RewindDone = std::function<void(checkpointer::GuestEngine::Promotion)>;
  void arm_rewind(checkpointer::RewindOrder order, RewindDone done);
  /// It is not to be any more. False: it has begun.
  bool disarm_rewind();
  /// The record, if it is agreed.
  [[nodiscard]] std::optional<Record> record() const;
  [[nodiscard]] std::optional<checkpointer::GuestEngine::Commit> last_commit() const {
    return engine_.last_commit();
  }

  /// A primary's offer. Any thread; starts a standby machine.
  [[nodiscard]] Result<std::shared_ptr<replication::ReplicaEvents>> accept(
      const replication::Offer& offer);

  /// Who runs the guest, its state and its newest commit: for those who watch. Cheap.
  [[nodiscard]] control::Guest outline() const;
  /// The same and all else, for the status; first hand if the guest runs here.
  [[nodiscard]] control::Guest report() const;

  /// At the end of the daemon: output is closed for good, at once; the guest is killed soon.
  void begin_stop() { engine_.begin_stop(); }

 private:
  void post(std::function<void()> work);
  [[nodiscard]] Result<> check_home() const;
  [[nodiscard]] replication::Offer with_own_paths(replication::Offer offer) const;
  void on_engine_event(const checkpointer::GuestEvent& event);
  void begin(std::shared_ptr<ControlCall> call, const Result<>& accepted);
  void report_state(control::Guest& guest) const;
  void report_outlook(control::Guest& guest) const;
  void report_protection(control::Guest& guest, const checkpointer::EngineStatus& status) const;
  [[nodiscard]] std::string done_text(const control::Request& request,
                                      const std::string& what) const;
  [[nodiscard]] std::string host_name(NodeId node) const;

  /// What was armed, if this promotion is the switchover that it is for.
  [[nodiscard]] std::optional<checkpointer::RewindOrder> take_rewind(const act::Promote& action);

  void perform(const Action& action);
  void perform(const act::Propose& action);
  void perform(const act::StartGuest& action);
  [[nodiscard]] checkpointer::GuestEngine::Tell tell_caller();
  void perform(const act::StopGuest& action);
  void perform(const act::EndSession& action);
  void perform(const act::Promote& action);
  void perform(const act::HandOver& action);
  void perform(const act::Protect& action);
  void perform(const act::EndProtection& action);
  void perform(const act::Suspend& action);
  void perform(const act::Resume& action);
  void perform(const act::SetOutput& action);
  void perform(const act::Answer& action);

  const std::string name_;
  Daemon& daemon_;
  GuestRole role_;
  std::deque<std::shared_ptr<ControlCall>> calls_;  ///< that wait for an answer, oldest first
  control::Outage outage_;
  TimePoint decided_at_;
  TimePoint paused_at_;  ///< for good: its backup is to run it
  struct ArmedRewind {
    checkpointer::RewindOrder order;
    Term term;  ///< of the record that makes this host the backup
    RewindDone done;
  };
  std::optional<ArmedRewind> armed_;
  RewindDone rewind_done_;                ///< of the one under way
  checkpointer::DiskTrust disk_trust_{};  ///< of the start under way
  checkpointer::GuestEngine engine_;      ///< last: its thread ends before anything it reports to
};

}  // namespace understudy::failover
