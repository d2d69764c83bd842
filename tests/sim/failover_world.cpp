#include "failover_world.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "config/limits.hpp"

namespace understudy::sim {

using failover::Quorum;
using failover::View;
namespace act = failover::act;

const char* name_of(Mutant mutant) {
  switch (mutant) {
    case Mutant::none: return "none";
    case Mutant::skips_writes: return "skips writes";
    case Mutant::believes_itself: return "believes itself";
    case Mutant::releases_early: return "releases early";
    case Mutant::shows_without_quorum: return "shows without quorum";
    case Mutant::promotes_unrecorded: return "promotes unrecorded";
    case Mutant::acknowledges_to_the_end: return "acknowledges to the end";
    case Mutant::promotes_half_a_replica: return "promotes half a replica";
    case Mutant::hands_over_uncommitted: return "hands over uncommitted";
    case Mutant::shows_before_alone: return "shows before it is alone";
    case Mutant::goes_on_after_hand_over: return "goes on after the hand-over";
    case Mutant::heeds_old_acks: return "heeds old acknowledgements";
    case Mutant::acts_before_the_fence: return "acts before the fence";
    case Mutant::counts_old_fences: return "counts old fences";
    case Mutant::believes_failed_fences: return "believes failed fences";
    case Mutant::trusts_an_old_record: return "trusts an old record";
  }
  return "";
}

World::World(std::uint64_t seed, int host_count, Mutant mutant_) : random{seed}, mutant{mutant_} {
  hosts.resize(static_cast<std::size_t>(host_count));
  for (int i = 0; i < host_count; ++i) reboot(i);
  join();
}

// --- faults

void World::reboot(int i) {
  auto& host = at(i);
  auto disk = std::move(host.disk);
  const int life = host.life + 1;
  host = Host{};
  host.disk = std::move(disk);
  host.life = life;
  host.id = NodeId{static_cast<std::uint32_t>(i + 1)};
  std::vector<NodeId> configured;
  failover::GuestPolicy policy;
  for (std::uint32_t n = 1; n <= hosts.size(); ++n) configured.emplace_back(n);
  if (!pair()) policy.unfit.emplace(configured.back(), "a witness");
  if (mutant == Mutant::believes_itself) configured = {host.id};
  host.book = std::make_unique<RecordBook>(host.id, configured, host.disk);
  host.role = std::make_unique<GuestRole>(guest_name, host.id, policy);
  if (pair()) {
    const Fencing::Policy fencing{milliseconds{200} * pick(5), 2};
    host.fencing = std::make_unique<Fencing>(fencing);
  }
}

void World::kill(int i) {
  auto& host = at(i);
  host.alive = host.runs = host.frozen = false;
  host.replica.reset();
  if (session_from == i || session_to == i) session_broken = true;
  split(parts);
}

void World::revive(int i) {
  reboot(i);
  split(parts);
}

void World::leave(int i) {
  auto& host = at(i);
  host.output = Output::closed;
  if (host.ring) host.ring->log.emplace_back(i, host.book->farewell());
  kill(i);
}

void World::confirm_dead(int i) {
  auto& host = at(i);
  const int other = 1 - i;
  if (at(other).alive || !host.ring) return;
  ++confirmations;
  // Clocks of hosts differ: the operator's word of today may look older than that of yesterday.
  constexpr std::uint64_t day = 1'000'000;
  const auto now = 2 * ++eras_;
  const auto era = (now > 4 && pick(8) == 0 ? now - 3 : now) * day;
  send(i, host.book->prevail(at(other).id, era));
  decide(i);
}

void World::end_fencing() {
  agents_.clear();
  failing_fences = 4;
}

void World::freeze(int i) {
  at(i).frozen = true;
  split(parts);
}

void World::thaw(int i) {
  at(i).frozen = false;
  split(parts);
}

void World::join() {
  std::vector<int> all(hosts.size());
  std::iota(all.begin(), all.end(), 0);
  split({all});
}

void World::split(std::vector<std::vector<int>> into) {
  parts = std::move(into);
  ++sequence_;
  link_is_apart = pick(2) == 0;
  slow = pick(2 * static_cast<int>(hosts.size()));
  for (const auto& part : parts) {
    auto ring = std::make_shared<Ring>();
    for (const int i : part) {
      if (awake(i)) ring->hosts.push_back(i);
    }
    if (ring->hosts.empty()) continue;
    ring->id = {sequence_, at(ring->hosts.front()).id};
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

bool World::connected(int i, int j) const {
  return std::any_of(parts.begin(), parts.end(), [&](const auto& part) {
    return std::count(part.begin(), part.end(), i) == 1 &&
           std::count(part.begin(), part.end(), j) == 1;
  });
}

// --- steps

void World::step() {
  ++steps;
  if (pair() && pick(8) == 0) return run_agents();
  const int i = pick(static_cast<int>(hosts.size()));
  auto& host = at(i);
  if (!awake(i) || (i == slow && pick(40) != 0)) return;
  switch (pick(7)) {
    case 0: return hear_of_ring(i);
    case 1:
    case 2: return deliver(i);
    case 3: return work(i);
    case 4: return replicate();
    case 5: return take_ack(i);
    default:
      clock += tick;
      if (session_from == i) host.role->link(!session_broken, clock);
      if (pick(10) == 0 && host.ring) send(i, host.book->remind());
      decide(i);
  }
}

void World::run(int steps_) {
  for (int n = 0; n < steps_; ++n) step();
}

void World::settle(int steps_) {
  slow = -1;
  run(steps_);
}

int World::running() const {
  return static_cast<int>(std::count_if(
      hosts.begin(), hosts.end(), [](const Host& host) { return host.runs && !host.suspended; }));
}

void World::decide(int i) {
  auto& host = at(i);
  for (const auto& action : host.role->decide(*host.book, clock)) {
    coverage.ordered(action);
    std::visit([&](const auto& one) { perform(i, one); }, action);
  }
  if (with_fencing && host.book->pair()) fence(i);
}

void World::fence(int i) {
  auto& host = at(i);
  auto attempt = host.fencing->decide(*host.book, clock);
  const bool started_alone = host.ring && host.ring->hosts.size() == 1 && !host.book->knows_all();
  if (mutant == Mutant::trusts_an_old_record && started_alone && pick(20) == 0) attempt = 0;
  if (!attempt) return;
  agents_.push_back({i, host.life, *attempt, {}});
  if (mutant == Mutant::acts_before_the_fence) send(i, host.book->confirm_dead(at(1 - i).id));
}

/// The world goes on between what an agent does and what it says.
void World::run_agents() {
  if (agents_.empty()) return;
  const auto n = static_cast<std::size_t>(pick(static_cast<int>(agents_.size())));
  const int target = 1 - agents_[n].by;
  const bool forsaken = at(agents_[n].by).life != agents_[n].life || !at(agents_[n].by).alive;
  if (!agents_[n].struck && !(forsaken && pick(2) == 0)) {
    agents_[n].struck = pick(4) >= failing_fences;
    if (*agents_[n].struck && at(target).alive) kill(target);
    if (*agents_[n].struck) ++fences;
    return;
  }
  if (!forsaken && (at(agents_[n].by).frozen || pick(slow_agents) != 0)) return;
  const auto run = agents_[n];
  agents_.erase(agents_.begin() + static_cast<std::ptrdiff_t>(n));
  if (!forsaken) answer_fence(run);
}

void World::answer_fence(const FenceRun& run) {
  auto& host = at(run.by);
  const auto target = at(1 - run.by).id;
  const auto outcome = *run.struck ? Result<>{} : fail(ErrorKind::io, "the power switch is deaf");
  bool counts = host.fencing->finished(run.attempt, outcome, clock);
  host.has_fenced = host.has_fenced || counts;
  if (mutant == Mutant::believes_failed_fences) counts = true;
  if (mutant == Mutant::trusts_an_old_record && run.attempt == 0 && *run.struck)
    send(run.by, host.book->prevail(target, 1));
  if (counts) send(run.by, host.book->confirm_dead(target));
  decide(run.by);
}

/// What is decided under a term is the same for all, for ever.
void World::note_decided(int i) {
  const auto record = at(i).book->decided(guest_name);
  const auto [known, fresh] = decided_.emplace(record.term.value(), record);
  if (!fresh && known->second != record) violation = "two records of one term were decided";
}

void World::send(int i, const RecordBook::Messages& messages) {
  if (mutant != Mutant::skips_writes || pick(6) == 0) at(i).disk = at(i).book->memory();
  for (const auto& message : messages) {
    if (lossy && pick(50) == 0) continue;  // its outbox was full
    if (at(i).ring) at(i).ring->log.emplace_back(i, message);
  }
}

void World::hear_of_ring(int i) {
  auto& host = at(i);
  if (!host.next_ring) return;
  host.ring = std::move(host.next_ring);
  host.next_ring.reset();
  host.delivered = 0;
  const auto& members = host.ring->hosts;
  const bool majority = 2 * members.size() > hosts.size() || mutant == Mutant::believes_itself;
  const bool quorate = majority || (pair() && two_node && host.was_quorate);
  host.was_quorate = quorate || host.was_quorate;
  View view{host.ring->id, quorate ? Quorum::present : Quorum::absent, {}, {}};
  for (const int j : members) view.members.push_back(at(j).id);
  send(i, host.book->on_view(view));
  if (mutant == Mutant::counts_old_fences && host.has_fenced)
    send(i, host.book->confirm_dead(at(1 - i).id));
  decide(i);
}

void World::deliver(int i) {
  auto& host = at(i);
  if (!host.ring || host.delivered >= host.ring->log.size()) return;
  // Others are in a new ring already: what is sent in the old one now reaches nobody but oneself.
  const auto [from, message] = host.ring->log[host.delivered++];
  if (!host.next_ring || from == i || connected(i, from)) {
    send(i, host.book->on_message(at(from).id, message));
    note_decided(i);
    decide(i);
  }
}

void World::work(int i) {
  auto& host = at(i);
  if (host.engine.empty()) return;
  const auto job = std::move(host.engine.front());
  host.engine.pop_front();
  job();
  decide(i);
}

bool World::link_works() {
  return session_from >= 0 && !session_broken && awake(session_to) &&
         (connected(session_from, session_to) || link_is_apart);
}

/// The guests run, the session carries.
void World::replicate() {
  for (int i = 0; i < witness(); ++i) {
    auto& host = at(i);
    if (!awake(i) || !host.runs || host.suspended) continue;
    ++host.guest.count;
    const bool early = mutant == Mutant::releases_early && host.output == Output::holding;
    if (host.output == Output::open || early) release(host, host.guest.count);
  }
  if (!link_works() || frozen_sync) return;
  auto& from = at(session_from);
  auto& to = at(session_to);
  if (!awake(session_from) || !from.runs || from.suspended) return;
  to.replica = from.guest;
  to.role->standby_ready();
  from.acks.push_back({from.guest.count, clock});
  while (from.acks.size() > 3) from.acks.pop_front();
}

/// An acknowledgement arrives, whatever has become of the session that it was sent in. Who has not
/// looked for long asks the backup anew.
void World::take_ack(int i) {
  auto& host = at(i);
  if (host.acks.empty()) return;
  const auto ack = host.acks.front();
  host.acks.pop_front();
  if (clock - ack.sent > limits::link_doze && mutant != Mutant::heeds_old_acks) return;
  host.role->replica_ready();
  if (host.runs && host.output == Output::holding) release(host, ack.count);
}

// --- the outside

bool World::precedes(Point earlier, Point later) const {
  while (later.line != earlier.line) {
    if (lines_[later.line].boot) return false;
    later = lines_[later.line].from;
  }
  return earlier.count <= later.count;
}

bool World::knows_newest(int i) const {
  const auto term = [](const Host& host) { return host.book->decided(guest_name).term; };
  const auto& own = hosts[static_cast<std::size_t>(i)];
  return std::ranges::all_of(hosts, [&](const Host& host) { return term(host) <= term(own); });
}

void World::release(const Host& host, int count) {
  const Point now{host.guest.line, count};
  if (precedes(shown_, now)) {
    shown_ = now;
  } else if (!precedes(now, shown_)) {  // else it comes late, and is nothing new
    violation = "two hosts show the guest to the outside";
  }
}

// --- what roles order

void World::lose_session(const std::string& why) {
  if (session_from < 0) return;
  auto& from = at(session_from);
  at(session_to).role->standby_lost(clock);
  from.engine.emplace_back([&from, why] { from.role->protection_lost({ErrorKind::closed, why}); });
  if (mutant == Mutant::promotes_unrecorded && awake(session_to) && at(session_to).replica)
    promote(session_to, Output::open);
  session_from = session_to = -1;
}

void World::perform(int i, const act::Propose& action) {
  if (!coverage.proposed(at(i).book->decided(guest_name), action.next, at(i).book->dead()))
    violation = "a host proposes what none may";
  send(i, {at(i).book->propose(guest_name, action.next)});
}

void World::perform(int i, const act::StartGuest& /*action*/) {
  at(i).engine.emplace_back([this, i] {
    auto& host = at(i);
    host.runs = true;
    host.suspended = false;
    host.output = Output::closed;
    host.guest = shown_ = {lines_.size(), 0};  // a fresh boot: the outside knows it for another
    lines_.push_back({{}, true});
    host.role->started({});
  });
}

void World::perform(int i, const act::StopGuest& /*action*/) {
  at(i).output = Output::closed;
  at(i).engine.emplace_back([this, i] {
    auto& host = at(i);
    host.runs = host.suspended = false;
    host.replica.reset();
    host.acks.clear();
    if (session_from == i || session_to == i) lose_session("stopped");
    host.role->stopped();
  });
}

void World::perform(int i, const act::EndSession& /*action*/) {
  if (session_to == i && mutant != Mutant::acknowledges_to_the_end)
    lose_session("ended by the backup");
}

void World::perform(int i, const act::Promote& action) {
  at(i).engine.emplace_back([this, i, output = action.output] { promote(i, output); });
}

void World::promote(int i, Output output) {
  auto& host = at(i);
  if (!host.replica || pick(4) < failing_promotions) {
    host.replica.reset();
    return host.role->promoted(fail(ErrorKind::io, "QEMU refuses"));
  }
  if (output == Output::open && !precedes(shown_, *host.replica))
    violation = "the promoted replica is behind what the outside has seen";
  // One that has not heard of a newer record will throw its guest away unseen.
  if (output == Output::holding && knows_newest(i) && handed_over_ && *host.replica != handed_over_)
    violation = "the switchover has lost something";
  ++(output == Output::holding ? switchovers : promotions);
  host.runs = true;
  host.suspended = false;
  host.output = mutant == Mutant::shows_before_alone ? Output::open : output;
  host.guest = {lines_.size(), host.replica->count};
  lines_.push_back({*host.replica, false});
  if (mutant != Mutant::acknowledges_to_the_end) host.replica.reset();
  host.role->promoted({});
}

void World::perform(int i, const act::HandOver& /*action*/) {
  at(i).engine.emplace_back([this, i] {
    auto& host = at(i);
    if (session_from != i || !host.runs || host.suspended)
      return host.role->handed_over(fail(ErrorKind::closed, "not protected from here"));
    host.suspended = true;
    handed_over_ = host.guest;
    if (mutant == Mutant::goes_on_after_hand_over) host.suspended = false;
    if (mutant == Mutant::hands_over_uncommitted) return host.role->handed_over({});
    wait_for_commit(i);
  });
}

/// The engine does nothing else meanwhile.
void World::wait_for_commit(int i) {
  auto& host = at(i);
  if (session_from == i && link_works() && !frozen_sync && pick(3) == 0) {
    at(session_to).replica = host.guest;
    host.acks.clear();
    if (host.output == Output::holding) release(host, host.guest.count);
    return host.role->handed_over({});
  }
  if (session_from == i && pick(10) != 0) {
    host.engine.emplace_front([this, i] { wait_for_commit(i); });
    return;
  }
  host.suspended = false;
  handed_over_.reset();
  host.role->handed_over(fail(ErrorKind::timed_out, "the backup does not answer"));
}

void World::perform(int i, const act::Protect& action) {
  at(i).engine.emplace_back([this, i, action] {
    const int to = static_cast<int>(action.backup.value()) - 1;
    auto& backup = at(to);
    const auto presence = backup.role->presence();
    const bool free = presence == failover::Presence::none ||
                      (presence == failover::Presence::standby && session_to != to);
    if (!connected(i, to) || !awake(to) || !free || !at(i).runs)
      return at(i).role->protection_lost({ErrorKind::unavailable, "cannot reach the backup"});
    lose_session("another session has begun");
    session_from = i;
    session_to = to;
    session_broken = false;
    ++protections;
    backup.replica.reset();
    backup.role->standby_made(action.term);
    if (mutant == Mutant::promotes_half_a_replica) {
      backup.replica = Point{at(i).guest.line, 0};
      backup.role->standby_ready();
      at(i).role->replica_ready();
    }
    at(i).acks.clear();
    at(i).output = Output::holding;
  });
}

void World::perform(int i, const act::EndProtection& /*action*/) {
  at(i).engine.emplace_back([this, i] {
    if (session_from == i) lose_session("ended");
    at(i).acks.clear();
    at(i).role->protection_ended();
  });
}

void World::perform(int i, const act::Suspend& /*action*/) {
  at(i).engine.emplace_back([this, i] { at(i).suspended = true; });
}

void World::perform(int i, const act::Resume& /*action*/) {
  at(i).engine.emplace_back([this, i] {
    at(i).suspended = false;
    handed_over_.reset();  // the decision had not been heard of in time: the guest runs on
  });
}

void World::perform(int i, const act::SetOutput& action) {
  if (action.output == Output::closed && mutant == Mutant::shows_without_quorum) {
    at(i).output = Output::open;
  } else {
    at(i).output = action.output;
  }
}

void World::perform(int i, const act::Answer& action) {
  at(i).answers.push_back(action.result);
}

// --- after the faults

std::string World::unsettled() {
  for (auto& host : hosts) {
    if (!host.book->ready() || host.book->pending(guest_name)) return "the hosts do not agree";
  }
  const auto record = hosts.front().book->decided(guest_name);
  for (auto& host : hosts) {
    if (host.book->decided(guest_name) != record) return "the hosts know different records";
    if (host.runs != (host.id == record.active)) return "the guest does not run where it should";
  }
  if (record.active == failover::nobody) return {};
  auto& active = at(static_cast<int>(record.active.value()) - 1);
  if (active.suspended) return "the guest is paused for good";
  const bool wished = !record.keep_on.empty();
  if (wished && record.backup == failover::nobody) return "the guest is not protected again";
  const auto output = record.backup == failover::nobody ? Output::open : Output::holding;
  return active.output == output ? "" : "its output is not what it should be";
}

namespace {

/// What was done, and whether a disk has forgotten.
struct Deed {
  std::string text;
  bool forgot{};
};

/// A host's daemon is started again; now and then its disk has been replaced or damaged meanwhile.
Deed bring_back(World& world, int i) {
  const bool forgets = world.mutant != Mutant::skips_writes && world.pick(12) == 0;
  if (forgets) {
    world.at(i).disk.Clear();
    world.at(i).disk.set_damaged(world.pick(2) == 0);
  }
  world.revive(i);
  return {fmt::format("host {} comes back{}", i, forgets ? ", its disk lost" : ""), forgets};
}

/// An operator asks a host for something.
std::string command(World& world, int i) {
  auto& host = world.at(i);
  if (!host.alive || host.frozen || i == world.witness()) return "nothing";
  if (world.pair() && world.pick(4) == 0) {
    world.confirm_dead(i);
    return fmt::format("confirm dead at {}", i);
  }
  const int other = (i + 1 + world.pick(world.witness() - 1)) % world.witness();
  const auto asked = [i](const char* what, const Result<>& taken) {
    return fmt::format("{} at {}{}", what, i, taken ? "" : ": " + taken.error().message);
  };
  switch (world.pick(12)) {
    case 0: return asked("unprotect", host.role->unprotect(*host.book));
    case 1: return asked("stop", host.role->stop(*host.book));
    case 2:
    case 3: return asked("start", host.role->start(*host.book));
    case 4:
    case 5:
    case 6: {
      const NodeId backup{static_cast<std::uint32_t>(other + 1)};
      return asked(fmt::format("protect to {}", other).c_str(),
                   host.role->protect(*host.book, backup));
    }
    default: return asked("switch over", host.role->switch_over(*host.book));
  }
}

Deed fault(World& world, int i) {
  auto& host = world.at(i);
  const int n = static_cast<int>(world.hosts.size());
  switch (world.pick(8)) {
    case 0:
    case 1:
      if (!host.alive) return bring_back(world, i);
      if (world.pair() && !host.frozen && world.pick(4) == 0) {
        world.leave(i);
        return {fmt::format("host {} is stopped", i)};
      }
      world.kill(i);
      return {fmt::format("host {} dies", i)};
    case 2:
      if (!host.alive) return {"nothing"};
      host.frozen ? world.thaw(i) : world.freeze(i);
      return {fmt::format("host {} {}", i, host.frozen ? "freezes" : "thaws")};
    case 3:
    case 4: {
      std::vector<std::vector<int>> parts(2);
      for (int j = 0; j < n; ++j) parts[j == i || world.pick(3) == 0 ? 0 : 1].push_back(j);
      auto text = fmt::format("the net splits: {} | {}", fmt::join(parts[0], " "),
                              fmt::join(parts[1], " "));
      world.split(std::move(parts));
      return {std::move(text)};
    }
    case 5:
      world.session_broken = world.pick(2) == 0;
      world.frozen_sync = world.pick(4) == 0;
      return {fmt::format("the session {}{}", world.session_broken ? "breaks" : "carries",
                          world.frozen_sync ? ", a full copy does not end" : "")};
    default: world.join(); return {"the net is whole"};
  }
}

/// All faults end: what heals by itself must.
std::string heal(World& world) {
  world.lossy = world.session_broken = world.frozen_sync = false;
  world.failing_promotions = 0;
  world.end_fencing();
  for (int i = 0; i < static_cast<int>(world.hosts.size()); ++i) {
    world.at(i).frozen = false;
    if (!world.at(i).alive) world.reboot(i);
  }
  world.join();
  world.link_is_apart = false;
  world.tick = milliseconds{500};
  std::string wrong = "nothing happened";
  for (int turn = 0; turn < 400 && !wrong.empty() && world.violation.empty(); ++turn) {
    world.settle(200);
    wrong = world.unsettled();
  }
  return world.violation.empty() ? wrong : world.violation;
}

}  // namespace

FailoverVerdict run_failover(std::uint64_t seed, const StoryOptions& options) {
  const int host_count = seed % 4 == 0 ? 2 : 3 + static_cast<int>(seed % 3);
  World world{seed, host_count, options.mutant};
  if (world.pair()) {
    world.two_node = world.pick(2) == 0;
    world.with_fencing = world.pick(4) != 0;
    world.failing_fences = world.pick(3);
    world.slow_agents = world.pick(2) == 0 ? 4 : 2000;
  }
  world.settle();
  static_cast<void>(world.at(0).role->start(*world.at(0).book));
  world.settle(2000);
  if (world.pick(4) != 0)
    static_cast<void>(world.at(0).role->protect(*world.at(0).book, NodeId{2}));
  world.settle(2000);
  world.lossy = world.pick(2) == 0;
  world.failing_promotions = world.pick(4) == 0 ? 1 : 0;
  const int pace = 200 << world.pick(5);
  bool forgot = false;
  std::vector<std::string> story;
  for (std::size_t round = 0; round < story_rounds && world.violation.empty(); ++round) {
    // Each has its own chances, so that it stays what it is without another.
    world.random.seed(seed * story_rounds + round);
    if (options.left_out[round]) continue;
    const int i = world.pick(static_cast<int>(world.hosts.size()));
    const auto deed = world.pick(2) == 0 ? Deed{command(world, i)} : fault(world, i);
    forgot = deed.forgot || forgot;
    const int steps = world.pick(pace);
    if (options.tell) story.push_back(fmt::format("{}; {} steps", deed.text, steps));
    world.run(steps);
  }
  auto failure = world.violation;
  // Where too many disks have forgotten, waiting for an operator is right.
  if (failure.empty() && !forgot && options.mutant == Mutant::none) failure = heal(world);
  return {failure,           std::move(story), world.coverage,
          world.steps,       world.promotions, world.switchovers,
          world.protections, world.fences,     world.confirmations};
}

std::string minimised_failover(std::uint64_t seed, Mutant mutant) {
  StoryOptions options{.mutant = mutant};
  const auto failure = run_failover(seed, options).failure;
  for (bool shorter = true; shorter;) {
    shorter = false;
    for (std::size_t round = 0; round < story_rounds; ++round) {
      if (options.left_out[round]) continue;
      options.left_out.set(round);
      if (run_failover(seed, options).failure == failure) {
        shorter = true;
      } else {
        options.left_out.reset(round);
      }
    }
  }
  options.tell = true;
  const auto verdict = run_failover(seed, options);
  return fmt::format("\n    {}", fmt::join(verdict.story, "\n    "));
}

}  // namespace understudy::sim
