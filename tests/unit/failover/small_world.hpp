// Three hosts in one process: the real RecordBook and GuestRole of each, with a cluster, engines
// and a replication session that are models. Everything happens in steps that a seed or a test
// chooses.
//
// The model of the outside: the guest counts; a host shows the outside the count that it releases.
// When a replica is promoted, a new line of history begins at the count it holds.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "config/limits.hpp"
#include "failover/guest_role.hpp"

namespace understudy::failover::test {

inline const std::string guest_name = "pg";

struct Ring {
  RingId id;
  std::vector<int> hosts;
  std::vector<std::pair<int, peer::Message>> log;
  std::optional<std::size_t> cut;  ///< what is behind this is never delivered
};

struct Host {
  NodeId id;
  bool alive{true};
  peer::Memory disk;  ///< survives its daemon
  std::unique_ptr<RecordBook> book;
  std::unique_ptr<GuestRole> role;
  std::shared_ptr<Ring> ring;       ///< in which it believes to be
  std::shared_ptr<Ring> next_ring;  ///< of which it has not heard yet
  std::size_t delivered{};
  std::deque<std::function<void()>> engine;  ///< work that will be done some day
  std::vector<Result<std::string>> answers;

  // The model of the engine.
  bool runs{}, suspended{};
  Output output{Output::closed};
  int line{};       ///< of history
  int count{};      ///< what the guest has come to
  int replica{-1};  ///< count that the replica here holds
  int replica_line{};
};

class World {
 public:
  explicit World(std::uint64_t seed) : random{seed} {
    for (int i = 0; i < 3; ++i) {
      hosts.push_back({});
      reboot(i);
    }
    split({{0, 1, 2}});
  }

  /// Starts a host's daemon anew: it knows what is on its disk.
  void reboot(int i) {
    auto& host = hosts[static_cast<std::size_t>(i)];
    auto disk = std::move(host.disk);
    host = Host{};
    host.disk = std::move(disk);
    host.id = NodeId{static_cast<std::uint32_t>(i + 1)};
    host.book = std::make_unique<RecordBook>(host.id, std::vector{NodeId{1}, NodeId{2}, NodeId{3}},
                                             host.disk);
    host.role = std::make_unique<GuestRole>(guest_name, host.id);
  }

  void kill(int i) {
    auto& host = at(i);
    host.alive = host.runs = false;
    host.replica = -1;
    if (session_from == i || session_to == i) session_broken = true;
    split(parts);
  }

  void revive(int i) {
    reboot(i);
    split(parts);
  }

  /// Who can talk to whom from now on. Rings change at once, hosts hear of it later.
  void split(std::vector<std::vector<int>> into) {
    parts = std::move(into);
    ++sequence;
    link_is_apart = pick(2) == 0;
    slow = pick(6);
    for (const auto& part : parts) {
      auto ring = std::make_shared<Ring>();
      for (const int i : part) {
        if (at(i).alive) ring->hosts.push_back(i);
      }
      if (ring->hosts.empty()) continue;
      ring->id = {sequence, at(ring->hosts.front()).id};
      std::map<Ring*, std::size_t> cuts;
      for (const int i : ring->hosts) {
        if (at(i).ring) cuts[at(i).ring.get()] = std::max(cuts[at(i).ring.get()], at(i).delivered);
      }
      for (const int i : ring->hosts) {
        // Those that go on together deliver the same messages first.
        while (at(i).ring && at(i).delivered < cuts[at(i).ring.get()]) deliver(i);
        at(i).next_ring = ring;
      }
    }
  }

  bool connected(int i, int j) const {
    return std::any_of(parts.begin(), parts.end(), [&](const auto& part) {
      return std::count(part.begin(), part.end(), i) == 1 &&
             std::count(part.begin(), part.end(), j) == 1;
    });
  }

  Host& at(int i) { return hosts[static_cast<std::size_t>(i)]; }

  /// One thing happens somewhere.
  void step() {
    const int i = pick(3);
    auto& host = at(i);
    if (!host.alive || (i == slow && pick(40) != 0)) return;
    switch (pick(6)) {
      case 0: hear_of_ring(i); break;
      case 1:
      case 2: deliver(i); break;
      case 3: work(i); break;
      case 4: replicate(); break;
      default:
        clock += milliseconds{50};
        if (session_from == i) host.role->link(!session_broken, clock);
        if (pick(10) == 0 && host.ring) send(i, host.book->remind());
        decide(i);
    }
  }

  void run(int steps) {
    for (int n = 0; n < steps; ++n) step();
  }

  /// Until nothing is under way any more.
  void settle(int steps = 6000) {
    slow = -1;
    run(steps);
  }

  void decide(int i) {
    auto& host = at(i);
    for (const auto& action : host.role->decide(*host.book, clock)) {
      std::visit([&](const auto& one) { perform(i, one); }, action);
    }
  }

  int running() {
    return static_cast<int>(std::count_if(
        hosts.begin(), hosts.end(), [](const Host& host) { return host.runs && !host.suspended; }));
  }

  int pick(int below) { return std::uniform_int_distribution{0, below - 1}(random); }

  std::vector<Host> hosts;
  std::vector<std::vector<int>> parts;
  TimePoint clock{seconds{1000}};
  std::mt19937_64 random;
  std::string violation;  ///< empty: all is well
  int line_of_history{};  ///< the newest
  int forked_at{};        ///< count at which it began
  int released{};         ///< the highest count that the outside has seen
  int session_from{-1}, session_to{-1};
  bool session_broken{};
  int slow{-1};          ///< this host hears of everything late, while its guest runs on
  bool frozen_sync{};    ///< the full copy never ends
  bool skips_writes{};   ///< a mutant: what is accepted does not reach the disk
  bool lossy{};          ///< messages may not be sent, but none is lost by the cluster
  bool link_is_apart{};  ///< checkpoints travel on a network of their own, which works

 private:
  void send(int i, const RecordBook::Messages& messages) {
    if (!skips_writes) at(i).disk = at(i).book->memory();
    for (const auto& message : messages) {
      if (lossy && pick(50) == 0) continue;  // its outbox was full
      if (at(i).ring) at(i).ring->log.emplace_back(i, message);
    }
  }

  void hear_of_ring(int i) {
    auto& host = at(i);
    if (!host.next_ring) return;
    host.ring = std::move(host.next_ring);
    host.next_ring.reset();
    host.delivered = 0;
    View view{
        host.ring->id, host.ring->hosts.size() >= 2 ? Quorum::present : Quorum::absent, {}, {}};
    for (const int j : host.ring->hosts) view.members.push_back(at(j).id);
    send(i, host.book->on_view(view));
    decide(i);
  }

  void deliver(int i) {
    auto& host = at(i);
    if (!host.ring || host.delivered >= host.ring->log.size()) return;
    // Others are in a new ring already: what is sent in the old one now reaches nobody but oneself.
    const auto [from, message] = host.ring->log[host.delivered++];
    if (!host.next_ring || from == i || connected(i, from)) {
      send(i, host.book->on_message(at(from).id, message));
      decide(i);
    }
  }

  void work(int i) {
    auto& host = at(i);
    if (host.engine.empty()) return;
    const auto job = std::move(host.engine.front());
    host.engine.pop_front();
    job();
    decide(i);
  }

  /// The guests run, the session carries, acknowledgements release.
  void replicate() {
    for (int i = 0; i < 3; ++i) {
      auto& host = at(i);
      if (!host.alive || !host.runs || host.suspended) continue;
      ++host.count;
      if (host.output == Output::open) release(host, host.count);
    }
    if (session_from < 0 || session_broken || frozen_sync) return;
    auto& from = at(session_from);
    auto& to = at(session_to);
    if (!connected(session_from, session_to) && !link_is_apart) return;
    if (!from.alive || !to.alive || !from.runs || from.suspended) return;
    // A backup that has not ended the session acknowledges whatever has become of it.
    to.replica = from.count;
    to.replica_line = from.line;
    to.role->standby_ready();
    from.role->replica_ready();
    if (from.output == Output::holding) release(from, to.replica);
  }

  void release(const Host& host, int count) {
    if (host.line < line_of_history && count > forked_at)
      violation = "two hosts show the guest to the outside";
    released = std::max(released, count);
  }

  void lose_session(const std::string& why) {
    if (session_from < 0) return;
    at(session_from).role->protection_lost({ErrorKind::closed, why});
    at(session_to).role->standby_lost(clock);
    session_from = session_to = -1;
  }

  void perform(int i, const act::Propose& action) {
    send(i, {at(i).book->propose(guest_name, action.next)});
  }
  void perform(int i, const act::StartGuest&) {
    at(i).engine.emplace_back([this, i] {
      auto& host = at(i);
      host.runs = true;
      host.output = Output::closed;
      host.line = ++line_of_history;
      host.count = forked_at = released = 0;  // a fresh boot: the outside knows it for another
      host.role->started({});
    });
  }
  void perform(int i, const act::StopGuest&) {
    at(i).output = Output::closed;
    at(i).engine.emplace_back([this, i] {
      at(i).runs = false;
      at(i).replica = -1;
      if (session_from == i) lose_session("stopped");
      at(i).role->stopped();
    });
  }
  void perform(int i, const act::EndSession&) {
    if (session_to == i) lose_session("ended by the backup");
  }
  void perform(int i, const act::HandOver&) {
    at(i).engine.emplace_back([this, i] {
      auto& host = at(i);
      if (session_from != i || session_broken || !at(session_to).alive)
        return host.role->handed_over(fail(ErrorKind::timed_out, "the backup does not answer"));
      at(session_to).replica = host.count;
      at(session_to).replica_line = host.line;
      host.suspended = true;
      release(host, host.count);
      host.role->handed_over({});
    });
  }
  void perform(int i, const act::Promote& action) {
    at(i).engine.emplace_back([this, i, action] {
      auto& host = at(i);
      if (host.replica < released)
        violation = "the promoted replica is behind what the outside has seen";
      host.runs = true;
      host.suspended = false;
      host.output = action.output;
      host.line = ++line_of_history;
      host.count = forked_at = host.replica;
      host.replica = -1;
      host.role->promoted({});
    });
  }
  void perform(int i, const act::Protect& action) {
    at(i).engine.emplace_back([this, i, action] {
      const int to = static_cast<int>(action.backup.value()) - 1;
      auto& backup = at(to);
      const bool free = backup.role->presence() == Presence::none ||
                        (backup.role->presence() == Presence::standby && session_to != to);
      if (!connected(i, to) || !backup.alive || !free)
        return at(i).role->protection_lost({ErrorKind::unavailable, "cannot reach the backup"});
      session_from = i;
      session_to = to;
      session_broken = false;
      backup.role->standby_made(action.term);
      at(i).output = Output::holding;
    });
  }
  void perform(int i, const act::EndProtection&) {
    at(i).engine.emplace_back([this, i] {
      if (session_from == i) lose_session("ended");
      at(i).role->protection_ended();
    });
  }
  void perform(int i, const act::Suspend&) { at(i).suspended = true; }
  void perform(int i, const act::Resume&) { at(i).suspended = false; }
  void perform(int i, const act::SetOutput& action) { at(i).output = action.output; }
  void perform(int i, const act::Answer& action) { at(i).answers.push_back(action.result); }

  std::uint64_t sequence{};
};

}  // namespace understudy::failover::test
