// Some hosts, a witness and guests in one process: the real RecordBook, GuestRoles and Fencing of
// each host, on a model of Corosync, of disks and of power switches. Everything happens in steps
// that a seed or a test chooses.
#pragma once

#include <bitset>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chances.hpp"
#include "coverage.hpp"
#include "failover/fencing.hpp"
#include "failover/guest_role.hpp"
#include "mutant.hpp"
#include "sim_guest.hpp"

namespace understudy::sim {

using failover::Fencing;
using failover::RecordBook;

struct Ring {
  failover::RingId id;
  std::vector<int> hosts;
  std::deque<std::pair<int, peer::Message>> log;
};

using HostSet = std::bitset<8>;

struct Host {
  NodeId id;
  bool alive{true};
  bool frozen{};
  int life{};          ///< of its daemon
  bool was_quorate{};  ///< in this life: Corosync of two hosts waits for both first
  peer::Memory disk;   ///< survives its daemon
  std::unique_ptr<RecordBook> book;
  std::unique_ptr<Fencing> fencing;  ///< of the other host; where there are two
  bool has_fenced{};                 ///< in this life
  const SimGuest* copying{};         ///< from here
  std::shared_ptr<Ring> ring;        ///< in which it believes to be
  std::shared_ptr<Ring> next_ring;   ///< of which it has not heard yet
  std::size_t delivered{};
  HostSet together{HostSet{}.set()};  ///< in its ring, as far as it still is one
  std::size_t received{};             ///< of the ring's messages when it broke
  TimePoint looked;                   ///< when it has done something last
  TimePoint woke;                     ///< from its last standstill
};

/// An agent at work: it may outlive what it was started for.
struct FenceRun {
  int by{};
  int life{};  ///< of `by`
  Fencing::Attempt attempt{};
  std::optional<bool> struck{};  ///< done: whether the power is off
};

struct Scale {
  int hosts{3};  ///< the last of three or more is a witness
  int guests{1};
  bool autostart{};  ///< guests are started by themselves, once in a daemon's life
  GuestLimits limits{};
};

class World {
 public:
  explicit World(std::uint64_t seed, const Scale& scale = {}, Mutant mutant_ = Mutant::none);

  Host& at(int i) { return hosts[static_cast<std::size_t>(i)]; }
  SimGuest& guest(int g = 0) { return *guests[static_cast<std::size_t>(g)]; }
  /// A guest on a host.
  Place& on(int i, int g = 0) { return guest(g).on(i); }
  [[nodiscard]] bool pair() const { return hosts.size() == 2; }
  /// Two hosts have none.
  [[nodiscard]] int witness() const { return static_cast<int>(hosts.size()) - (pair() ? 0 : 1); }
  int pick(int below) { return chances.pick(below); }
  [[nodiscard]] bool awake(int i) { return at(i).alive && !at(i).frozen; }
  [[nodiscard]] bool connected(int i, int j) const;

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
  /// The host stands still, its guests too; what comes for it waits.
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
  /// Faults have ended: empty when all guests are what the records say they are, or what is wrong.
  [[nodiscard]] std::string unsettled();

  // --- for the guests
  /// What is accepted goes to the host's disk, then the messages to the others.
  void send(int i, const RecordBook::Messages& messages);
  void complain(const std::string& what) {
    if (violation.empty()) violation = what;
  }

  std::vector<Host> hosts;
  std::vector<std::unique_ptr<SimGuest>> guests;
  std::vector<std::vector<int>> parts;
  TimePoint clock{seconds{1000}};
  Duration tick{milliseconds{50}};
  Chances chances;
  Mutant mutant{Mutant::none};
  std::string violation;     ///< empty: all is well
  bool failing_disks{};      ///< those of dead hosts
  bool disks_lost{};         ///< some host has forgotten what it had accepted
  int slow{-1};              ///< this host hears of everything late, while its guests run on
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
  std::uint64_t fences{};
  std::uint64_t confirmations{};

 private:
  /// Hosts that leave a ring for the same next one.
  struct Going {
    HostSet together;
    std::size_t delivered{};
  };

  void act(int i);
  void notice_standstill(int i);
  void decide(int i);
  void part_from_others(Host& host, HostSet together, std::size_t received);
  void hear_of_ring(int i);
  void deliver(int i);
  void tick_host(int i);
  void fence(int i);
  void run_agents();
  void answer_fence(const FenceRun& run);
  [[nodiscard]] SimGuest& any_guest() { return guest(pick(static_cast<int>(guests.size()))); }

  const bool autostart_;
  std::uint64_t sequence_{};
  std::vector<FenceRun> agents_;
  std::uint64_t eras_{};
};

}  // namespace understudy::sim
