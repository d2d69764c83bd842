// A guest in the simulated cluster: the real GuestRole of each host, and models of its engines and
// of the session that carries its epochs, which the real EpochMachine, Pacer and EgressQueue rule.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpointer/epoch_machine.hpp"
#include "checkpointer/pacer.hpp"
#include "failover/guest_role.hpp"
#include "outside.hpp"
#include "sim_gate.hpp"

namespace understudy::sim {

class World;
using failover::GuestRole;
using failover::Output;

/// How large things are in a world.
struct GuestLimits {
  std::size_t epochs_in_flight{4};
  checkpointer::PacerSettings pace{milliseconds{100}, milliseconds{10}};
  std::size_t hold_packets{32};
};

/// The guest's protection from its active host: what Primary is, without a machine.
struct SimPrimary {
  explicit SimPrimary(const GuestLimits& limits)
      : epochs{limits.epochs_in_flight}, pacer{limits.pace} {}
  checkpointer::EpochMachine epochs;
  checkpointer::Pacer pacer;
  TimePoint resumed;
  std::optional<TimePoint> output_waits;  ///< of the running epoch
  bool synchronised{};
  bool stalled{};             ///< paused for want of room
  std::optional<Epoch> last;  ///< of a hand-over
  std::deque<Epoch> acks;     ///< on their way to here
};

/// What a host has of the guest.
struct Place {
  explicit Place(const GuestLimits& limits) : gate{limits.hold_packets} {}
  std::unique_ptr<GuestRole> role;
  std::deque<std::function<void()>> engine;  ///< work that will be done some day
  std::vector<Result<std::string>> answers;
  bool runs{};
  bool suspended{};
  SimGate gate;
  GuestState guest;                   ///< what it has come to
  std::optional<GuestState> replica;  ///< here
  std::optional<SimPrimary> primary;

  [[nodiscard]] Output output() const { return gate.output(); }
};

class SimGuest {
 public:
  SimGuest(World& world, std::string name, const GuestLimits& limits);

  [[nodiscard]] const std::string& name() const { return name_; }
  Place& on(int host) { return places_[static_cast<std::size_t>(host)]; }
  [[nodiscard]] int running() const;

  // --- what becomes of hosts
  void daemon_starts(int host, failover::GuestPolicy policy);
  void host_dies(int host);
  void daemon_leaves(int host) { on(host).gate.rule(Output::closed); }
  /// The host has stood still: of what has come in meanwhile nothing counts.
  void wakes(int host);

  // --- something happens
  void decide(int host);
  void ticks(int host);
  void work(int host);
  /// It runs wherever it does; the session carries.
  void live();
  /// An acknowledgement arrives, whatever has become of the session that it was given in.
  void take_ack(int host);
  /// What is decided under a term is the same for all, for ever.
  void note_decided(int host);

  /// Faults have ended: empty when the guest is what the record says it is, or what is wrong.
  [[nodiscard]] std::string unsettled();
  void check_register();

  int session_from{-1};
  int session_to{-1};
  bool session_broken{};
  bool frozen_sync{};  ///< the link carries nothing, though it is there

  // What has happened.
  std::uint64_t promotions{};
  std::uint64_t switchovers{};
  std::uint64_t protections{};
  std::uint64_t epochs{};
  [[nodiscard]] std::uint64_t answers() const { return outside_.answers(); }

 private:
  struct OnTheWay {
    Epoch epoch;
    GuestState state;
  };

  [[nodiscard]] bool link_works();
  [[nodiscard]] bool knows_newest(int host) const;
  /// How many hosts would remember that the guest has come to this term.
  [[nodiscard]] std::size_t on_disks(Term term) const;
  void live_on(int host);
  void let_out(int host);
  void carry();
  void checkpoint(int host);
  void seal(int host);
  void commit(int host, Epoch epoch);
  void lose_session(const std::string& why);
  void promote(int host, Output output);
  void hand_over(int host, TimePoint since);
  void end_hand_over(int host, const Error& why);
  void begin_session(int host, const failover::act::Protect& action);

  void perform(int host, const failover::act::Propose& action);
  void perform(int host, const failover::act::StartGuest& action);
  void perform(int host, const failover::act::StopGuest& action);
  void perform(int host, const failover::act::EndSession& action);
  void perform(int host, const failover::act::Promote& action);
  void perform(int host, const failover::act::HandOver& action);
  void perform(int host, const failover::act::Protect& action);
  void perform(int host, const failover::act::EndProtection& action);
  void perform(int host, const failover::act::Suspend& action);
  void perform(int host, const failover::act::Resume& action);
  void perform(int host, const failover::act::SetOutput& action);
  void perform(int host, const failover::act::Answer& action);

  World& world_;
  const std::string name_;
  const GuestLimits limits_;
  std::deque<Place> places_;
  std::deque<OnTheWay> on_the_way_;                    ///< in the session
  Epoch held_;                                         ///< by the backup of the session
  std::map<std::uint64_t, failover::Record> decided_;  ///< by term
  std::optional<Point> handed_over_;                   ///< where the last hand-over paused it
  Outside outside_;
};

}  // namespace understudy::sim
