#include "failover_world.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "config/limits.hpp"

namespace understudy::sim {

using failover::Quorum;
using failover::View;

World::World(std::uint64_t seed, const Scale& scale, Mutant mutant_)
    : chances{seed}, mutant{mutant_}, autostart_{scale.autostart} {
  for (int g = 0; g < scale.guests; ++g)
    guests.push_back(std::make_unique<SimGuest>(*this, fmt::format("guest{}", g), scale.limits));
  hosts.resize(static_cast<std::size_t>(scale.hosts));
  for (int i = 0; i < scale.hosts; ++i) reboot(i);
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
  host.looked = clock;
  std::vector<NodeId> configured;
  failover::GuestPolicy policy;
  policy.autostart = autostart_;
  for (std::uint32_t n = 1; n <= hosts.size(); ++n) configured.emplace_back(n);
  if (!pair()) policy.unfit.emplace(configured.back(), "a witness");
  if (mutant == Mutant::believes_itself) configured = {host.id};
  host.book = std::make_unique<RecordBook>(host.id, configured, host.disk);
  for (const auto& one : guests) one->daemon_starts(i, policy);
  if (pair()) {
    const Fencing::Policy fencing{milliseconds{200} * pick(5), 2};
    host.fencing = std::make_unique<Fencing>(fencing);
  }
}

void World::kill(int i) {
  auto& host = at(i);
  // What nobody has been told yet may be on the disk or not.
  if (host.alive && mutant != Mutant::skips_writes && pick(2) == 0) host.disk = host.book->memory();
  host.alive = host.frozen = false;
  for (const auto& one : guests) one->host_dies(i);
  split(parts);
}

void World::revive(int i) {
  reboot(i);
  split(parts);
}

void World::leave(int i) {
  auto& host = at(i);
  for (const auto& one : guests) one->daemon_leaves(i);
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
  for (auto& host : hosts) {
    if (host.alive && host.frozen)
      part_from_others(host, {}, host.ring ? host.ring->log.size() : 0);
  }
  for (const auto& part : parts) {
    auto ring = std::make_shared<Ring>();
    for (const int i : part) {
      if (awake(i)) ring->hosts.push_back(i);
    }
    if (ring->hosts.empty()) continue;
    ring->id = {sequence_, at(ring->hosts.front()).id};
    std::map<Ring*, Going> goings;
    for (const int i : ring->hosts) {
      auto& going = goings[at(i).ring.get()];
      going.together.set(static_cast<std::size_t>(i));
      going.delivered = std::max(going.delivered, at(i).delivered);
    }
    for (const int i : ring->hosts) {
      const auto& going = goings[at(i).ring.get()];
      part_from_others(at(i), going.together, going.delivered);
      // Those that go on together deliver the same messages first.
      while (at(i).ring && at(i).delivered < going.delivered) deliver(i);
      at(i).next_ring = ring;
    }
  }
}

/// Virtual synchrony: of its ring's messages the host has received those before `received`; of the
/// others it will hear only those of hosts that have gone on with it ever since.
void World::part_from_others(Host& host, HostSet together, std::size_t received) {
  if (host.together.all()) host.received = received;
  host.together &= together;
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
  if (!awake(i) || (i == slow && pick(40) != 0)) return;
  notice_standstill(i);
  act(i);
}

void World::act(int i) {
  switch (pick(7)) {
    case 0: return hear_of_ring(i);
    case 1:
    case 2: return deliver(i);
    case 3: return any_guest().work(i);
    case 4: return any_guest().live();
    case 5: return any_guest().take_ack(i);
    default: return tick_host(i);
  }
}

/// As the session of a guest's checkpoints does.
void World::notice_standstill(int i) {
  auto& host = at(i);
  if (clock - std::exchange(host.looked, clock) <= limits::link_doze) return;
  host.woke = clock;
  if (mutant == Mutant::heeds_old_acks) return;
  for (const auto& one : guests) one->wakes(i);
}

void World::tick_host(int i) {
  auto& host = at(i);
  clock += tick;
  for (const auto& one : guests) one->ticks(i);
  // Not while answers are on their way: hosts that remind each other of ever more would never end.
  const bool has_heard_all = host.ring && host.delivered == host.ring->log.size();
  if (pick(10) == 0 && has_heard_all) send(i, host.book->remind());
  decide(i);
}

void World::run(int steps_) {
  for (int n = 0; n < steps_; ++n) step();
}

void World::settle(int steps_) {
  slow = -1;
  run(steps_);
}

std::string World::unsettled() {
  for (const auto& one : guests) {
    auto wrong = one->unsettled();
    if (!wrong.empty()) return wrong;
  }
  return {};
}

void World::decide(int i) {
  for (const auto& one : guests) one->decide(i);
  if (with_fencing && at(i).book->pair()) fence(i);
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

void World::send(int i, const RecordBook::Messages& messages) {
  if (messages.empty()) return;
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
  host.delivered = host.received = 0;
  host.together.set();
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
  const auto ring = host.ring;
  const auto number = host.delivered++;
  const auto& [from, message] = ring->log[number];
  const bool arrives = number < host.received || host.together[static_cast<std::size_t>(from)];
  if (!arrives && from != i) return;
  send(i, host.book->on_message(at(from).id, message));
  if (message.has_accepted() || message.has_adopted()) {
    for (const auto& one : guests) one->note_decided(i);
  }
  decide(i);
}

}  // namespace understudy::sim
