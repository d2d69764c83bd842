// Some hosts and a witness in one process: the real RecordBook and GuestRole of each, with a
// cluster, engines and a replication session that are models. Everything happens in steps that a
// seed or a test chooses.
//
// The model of the outside: the guest counts; a host shows the outside the count that it releases.
// A promotion begins a new line of history at the count that the replica holds. What was shown must
// be part of the history of whatever is shown next.
#pragma once

#include <bitset>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "coverage.hpp"
#include "failover/fencing.hpp"
#include "failover/guest_role.hpp"

namespace understudy::sim {

using failover::Fencing;
using failover::GuestRole;
using failover::Output;
using failover::RecordBook;

inline const std::string guest_name = "pg";

/// A fault of the machines themselves, to prove that the checkers see it.
enum class Mutant : std::uint8_t {
  none,
  skips_writes,             ///< what is accepted does not always reach the disk
  believes_itself,          ///< one host is a majority
  releases_early,           ///< output does not wait for the commit
  shows_without_quorum,     ///< output is not closed
  promotes_unrecorded,      ///< a lost session is reason enough to promote
  acknowledges_to_the_end,  ///< a promoted backup does not end its session first
  promotes_half_a_replica,  ///< a replica counts as whole before its first epoch
  hands_over_uncommitted,   ///< a switchover does not wait for the last epoch's commit
  shows_before_alone,  ///< a switchover's new host shows the guest while the old one is its backup
  goes_on_after_hand_over,  ///< a guest that was handed over runs on
  heeds_old_acks,           ///< who stood still believes what has come in meanwhile
  acts_before_the_fence,    ///< of two hosts: an agent that begins is as good as one that is done
  counts_old_fences,        ///< a host that was seen again still counts as dead
  believes_failed_fences,   ///< an agent that failed is believed
  trusts_an_old_record,     ///< a host that has just started fences the other and goes on
};
inline constexpr int mutants = 16;  ///< `none` included
[[nodiscard]] const char* name_of(Mutant mutant);

/// A state of the guest: a count on a line of history.
struct Point {
  std::size_t line{};
  int count{};
  friend bool operator==(const Point&, const Point&) = default;
};

struct Ring {
  failover::RingId id;
  std::vector<int> hosts;
  std::vector<std::pair<int, peer::Message>> log;
};

struct Host {
  NodeId id;
  bool alive{true};
  bool frozen{};
  int life{};          ///< of its daemon
  bool was_quorate{};  ///< in this life: Corosync of two hosts waits for both first
  peer::Memory disk;   ///< survives its daemon
  std::unique_ptr<RecordBook> book;
  std::unique_ptr<GuestRole> role;
  std::unique_ptr<Fencing> fencing;  ///< of the other host; where there are two
  bool has_fenced{};                 ///< in this life
  std::shared_ptr<Ring> ring;        ///< in which it believes to be
  std::shared_ptr<Ring> next_ring;   ///< of which it has not heard yet
  std::size_t delivered{};
  std::deque<std::function<void()>> engine;  ///< work that will be done some day
  std::vector<Result<std::string>> answers;

  // The model of the engine.
  bool runs{};
  bool suspended{};
  Output output{Output::closed};
  Point guest;                   ///< what it has come to
  std::optional<Point> replica;  ///< here
  struct Ack {
    int count;
    TimePoint sent;
  };
  std::deque<Ack> acks;  ///< on their way to here
};

/// An agent at work: it may outlive what it was started for.
struct FenceRun {
  int by{};
  int life{};  ///< of `by`
  Fencing::Attempt attempt{};
  std::optional<bool> struck{};  ///< done: whether the power is off
};

class World {
 public:
  explicit World(std::uint64_t seed, int host_count = 3, Mutant mutant_ = Mutant::none);

  Host& at(int i) { return hosts[static_cast<std::size_t>(i)]; }
  [[nodiscard]] bool pair() const { return hosts.size() == 2; }
  /// Two hosts have none.
  [[nodiscard]] int witness() const { return static_cast<int>(hosts.size()) - (pair() ? 0 : 1); }
  int pick(int below) { return std::uniform_int_distribution{0, below - 1}(random); }

  // --- faults
  /// Starts a host's daemon anew: it knows what is on its disk.
  void reboot(int i);
  void kill(int i);
  void revive(int i);
  /// A clean end of the daemon: it closes its output and says so.
  void leave(int i);
  /// An operator who has looked confirms that the other of two hosts is dead.
  void confirm_dead(int i);
  /// No agent is at work any more, and no other will succeed.
  void end_fencing();
  /// The host stands still, its guest too; what comes for it waits.
  void freeze(int i);
  void thaw(int i);
  /// Who can talk to whom from now on. Rings change at once, hosts hear of it later.
  void split(std::vector<std::vector<int>> into);
  void join();

  /// One thing happens somewhere.
  void step();
  void run(int steps);
  /// Until nothing is under way any more.
  void settle(int steps = 6000);
  /// Faults have ended: empty when the guest is what the record says it is, or what is wrong.
  [[nodiscard]] std::string unsettled();

  [[nodiscard]] int running() const;

  std::vector<Host> hosts;
  std::vector<std::vector<int>> parts;
  TimePoint clock{seconds{1000}};
  Duration tick{milliseconds{50}};
  std::mt19937_64 random;
  Mutant mutant{Mutant::none};
  std::string violation;  ///< empty: all is well
  int session_from{-1};
  int session_to{-1};
  bool session_broken{};
  int slow{-1};              ///< this host hears of everything late, while its guest runs on
  bool frozen_sync{};        ///< the full copy never ends
  bool lossy{};              ///< messages may not be sent, but none is lost by the cluster
  bool link_is_apart{};      ///< checkpoints travel on a network of their own, which works
  int failing_promotions{};  ///< of four
  bool two_node{};           ///< Corosync says of either of two hosts alone that it has quorum
  bool with_fencing{};       ///< of two hosts: each has an agent for the other
  int failing_fences{};      ///< of four
  int slow_agents{4};        ///< what is done is told after so many turns, about

  // What has happened.
  Coverage coverage;
  std::uint64_t steps{};
  std::uint64_t promotions{};
  std::uint64_t switchovers{};
  std::uint64_t protections{};
  std::uint64_t fences{};
  std::uint64_t confirmations{};

 private:
  struct Line {
    Point from;  ///< of the first line of a boot: itself
    bool boot{};
  };

  [[nodiscard]] bool awake(int i) { return at(i).alive && !at(i).frozen; }
  [[nodiscard]] bool connected(int i, int j) const;
  [[nodiscard]] bool link_works();
  [[nodiscard]] bool precedes(Point earlier, Point later) const;
  [[nodiscard]] bool knows_newest(int i) const;
  void decide(int i);
  void send(int i, const RecordBook::Messages& messages);
  void hear_of_ring(int i);
  void deliver(int i);
  void work(int i);
  void take_ack(int i);
  void fence(int i);
  void run_agents();
  void answer_fence(const FenceRun& run);
  void note_decided(int i);
  void replicate();
  void release(const Host& host, int count);
  void lose_session(const std::string& why);
  void wait_for_commit(int i);

  void perform(int i, const failover::act::Propose& action);
  void perform(int i, const failover::act::StartGuest& action);
  void perform(int i, const failover::act::StopGuest& action);
  void perform(int i, const failover::act::EndSession& action);
  void perform(int i, const failover::act::Promote& action);
  void perform(int i, const failover::act::HandOver& action);
  void perform(int i, const failover::act::Protect& action);
  void perform(int i, const failover::act::EndProtection& action);
  void perform(int i, const failover::act::Suspend& action);
  void perform(int i, const failover::act::Resume& action);
  void perform(int i, const failover::act::SetOutput& action);
  void perform(int i, const failover::act::Answer& action);
  void promote(int i, Output output);

  std::uint64_t sequence_{};
  std::vector<FenceRun> agents_;
  std::map<std::uint64_t, failover::Record> decided_;  ///< by term: for all hosts the same
  std::uint64_t eras_{};
  std::vector<Line> lines_{{{}, true}};
  Point shown_;                       ///< the newest that the outside has seen
  std::optional<Point> handed_over_;  ///< where the last hand-over paused the guest
};

/// A story of faults and commands, in rounds that a seed chooses, each by itself.
inline constexpr int story_rounds = 40;
using Rounds = std::bitset<story_rounds>;

/// What was violated; empty: nothing.
struct FailoverVerdict {
  std::string failure;
  std::vector<std::string> story;  ///< what was done in each round, if it was asked for
  Coverage coverage;
  std::uint64_t steps{};
  std::uint64_t promotions{};
  std::uint64_t switchovers{};
  std::uint64_t protections{};
  std::uint64_t fences{};
  std::uint64_t confirmations{};
};

struct StoryOptions {
  Mutant mutant{Mutant::none};
  Rounds left_out{};
  bool tell{};
};
[[nodiscard]] FailoverVerdict run_failover(std::uint64_t seed, const StoryOptions& options = {});

/// The same failure with as few rounds as it needs, told. `seed` must fail.
[[nodiscard]] std::string minimised_failover(std::uint64_t seed, Mutant mutant = Mutant::none);

}  // namespace understudy::sim
