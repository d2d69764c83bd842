#include "sim_guest.hpp"

#include <algorithm>
#include <utility>

#include "failover_world.hpp"

namespace understudy::sim {

SimGuest::SimGuest(World& world, std::string name, const GuestLimits& limits)
    : world_{world}, name_{std::move(name)}, limits_{limits} {}

int SimGuest::running() const {
  return static_cast<int>(std::ranges::count_if(
      places_, [](const Place& place) { return place.runs && !place.suspended; }));
}

// --- what becomes of hosts

void SimGuest::daemon_starts(int host, failover::GuestPolicy policy) {
  while (std::cmp_less_equal(places_.size(), host)) places_.emplace_back(limits_);
  on(host) = Place{limits_};
  on(host).role = std::make_unique<GuestRole>(name_, world_.at(host).id, std::move(policy));
}

void SimGuest::host_dies(int host) {
  on(host).runs = false;
  on(host).replica.reset();
  if (session_from == host || session_to == host) session_broken = true;
}

/// It asks over a new link what the backup holds now.
void SimGuest::wakes(int host) {
  auto& here = on(host);
  if (!here.primary) return;
  here.primary->acks.clear();
  if (session_from == host && link_works()) commit(host, held_);
}

// --- something happens

void SimGuest::decide(int host) {
  auto& its = world_.at(host);
  auto& role = *on(host).role;
  role.others_copy(its.copying != nullptr && its.copying != this);
  for (const auto& action : role.decide(*its.book, world_.clock)) {
    world_.coverage.ordered(action);
    std::visit([&](const auto& one) { perform(host, one); }, action);
  }
  if (role.copying()) {
    its.copying = this;
  } else if (its.copying == this) {
    its.copying = nullptr;
  }
}

void SimGuest::ticks(int host) {
  if (session_from == host) on(host).role->link(!session_broken, world_.clock);
}

void SimGuest::work(int host) {
  auto& engine = on(host).engine;
  if (engine.empty()) return;
  const auto job = std::move(engine.front());
  engine.pop_front();
  job();
  decide(host);
}

bool SimGuest::link_works() {
  return session_from >= 0 && !session_broken && world_.awake(session_to) &&
         (world_.connected(session_from, session_to) || world_.link_is_apart);
}

void SimGuest::live() {
  for (int host = 0; host < world_.witness(); ++host) {
    if (!world_.awake(host) || !on(host).runs) continue;
    live_on(host);
    checkpoint(host);
  }
  carry();
}

void SimGuest::live_on(int host) {
  auto& here = on(host);
  if (here.suspended || (here.primary && here.primary->stalled)) return;
  const bool hears = here.output() != Output::closed;
  auto next = here.guest;
  const auto packet = next.live(hears ? outside_.request(world_.chances) : std::nullopt);
  if (!here.gate.take(packet, world_.clock)) return;
  here.guest = next;
  if (here.primary && !here.primary->output_waits) here.primary->output_waits = world_.clock;
  if (world_.mutant == Mutant::releases_early && here.output() == Output::holding)
    outside_.show(packet, world_.at(host).woke);
  let_out(host);
}

void SimGuest::let_out(int host) {
  while (const auto packet = on(host).gate.leaving()) outside_.show(*packet, world_.at(host).woke);
  world_.complain(outside_.complaint());
}

// --- protection

/// What Primary::act decides.
void SimGuest::checkpoint(int host) {
  auto& here = on(host);
  if (!here.primary || here.suspended) return;
  auto& primary = *here.primary;
  if (session_from != host || primary.last) {
    primary.stalled = false;
    return;
  }
  if (!primary.synchronised) {
    const bool copied = link_works() && !frozen_sync && world_.pick(3) == 0;
    primary.synchronised = copied && primary.epochs.may_seal();
    return primary.synchronised ? seal(host) : void();
  }
  const bool room = primary.epochs.may_seal();
  if (primary.stalled) {
    if (room) return seal(host);
    primary.stalled = !session_broken;
    return;
  }
  const auto waits = here.gate.running_epoch_empty() ? std::nullopt : primary.output_waits;
  const checkpointer::Pace pace{world_.clock, primary.resumed, waits,
                                room,         !session_broken, here.gate.pressed()};
  const auto act = primary.pacer.decide(pace).act;
  world_.coverage.paced(act);
  switch (act) {
    case checkpointer::Pacer::Act::wait: return;
    case checkpointer::Pacer::Act::seal: return seal(host);
    case checkpointer::Pacer::Act::stall: primary.stalled = true;
  }
}

void SimGuest::seal(int host) {
  auto& here = on(host);
  auto& primary = *here.primary;
  const auto epoch = primary.epochs.running();
  if (epoch == Epoch{1}) here.gate.tighten();
  here.gate.seal(epoch);
  on_the_way_.push_back({epoch, here.guest});
  const bool misses = world_.mutant == Mutant::misses_a_write && world_.pick(8) == 0;
  if (misses && here.guest.value > 0) --on_the_way_.back().state.value;
  static_cast<void>(primary.epochs.seal(world_.clock));
  primary.pacer.paused(milliseconds{world_.pick(20)});
  primary.output_waits.reset();
  primary.resumed = world_.clock;
  primary.stalled = false;
  ++epochs;
}

/// The backup takes epochs, in order, and says so.
void SimGuest::carry() {
  if (on_the_way_.empty() || !link_works() || frozen_sync || !world_.awake(session_from)) return;
  auto& from = on(session_from);
  auto& to = on(session_to);
  for (int n = 1 + world_.pick(2); n > 0 && !on_the_way_.empty(); --n) {
    to.replica = on_the_way_.front().state;
    held_ = on_the_way_.front().epoch;
    on_the_way_.pop_front();
    to.role->standby_ready();
    if (from.primary) from.primary->acks.push_back(held_);
  }
}

void SimGuest::take_ack(int host) {
  auto& here = on(host);
  if (!here.primary || here.primary->acks.empty()) return;
  const auto epoch = here.primary->acks.front();
  here.primary->acks.pop_front();
  commit(host, epoch);
}

void SimGuest::commit(int host, Epoch epoch) {
  auto& here = on(host);
  auto& epochs_here = here.primary->epochs;
  const bool first = epochs_here.committed() == Epoch{} && epoch != Epoch{};
  here.gate.release(world_.mutant == Mutant::releases_the_next_epoch ? epoch.next() : epoch);
  if (!epochs_here.commit(epoch, world_.clock))
    world_.complain("the backup has acknowledged what was not sealed");
  if (first) here.role->replica_ready();
  let_out(host);
}

void SimGuest::lose_session(const std::string& why) {
  if (session_from < 0) return;
  const int to = session_to;
  auto& from = on(session_from);
  on(to).role->standby_lost(world_.clock);
  from.engine.emplace_back([&from, why] { from.role->protection_lost({ErrorKind::closed, why}); });
  if (world_.mutant == Mutant::promotes_unrecorded && world_.awake(to) && on(to).replica)
    promote(to, Output::open);
  session_from = session_to = -1;
  on_the_way_.clear();
}

void SimGuest::begin_session(int host, const failover::act::Protect& action) {
  const int to = static_cast<int>(action.backup.value()) - 1;
  auto& here = on(host);
  auto& backup = on(to);
  const auto presence = backup.role->presence();
  const bool free = presence == failover::Presence::none ||
                    (presence == failover::Presence::standby && session_to != to);
  if (!world_.connected(host, to) || !world_.awake(to) || !free || !here.runs)
    return here.role->protection_lost({ErrorKind::unavailable, "cannot reach the backup"});
  lose_session("another session has begun");
  session_from = host;
  session_to = to;
  session_broken = false;
  held_ = {};
  ++protections;
  backup.replica.reset();
  backup.role->standby_made(action.term);
  here.primary.emplace(limits_);
  here.primary->resumed = world_.clock;
  if (world_.mutant != Mutant::promotes_half_a_replica) return;
  backup.replica = GuestState{.at = {here.guest.at.line, 0}};
  backup.role->standby_ready();
  here.role->replica_ready();
}

// --- the end of it

bool SimGuest::knows_newest(int host) const {
  const auto term = [&](int i) {
    return world_.hosts[static_cast<std::size_t>(i)].book->decided(name_).term;
  };
  const auto own = term(host);
  for (int i = 0; std::cmp_less(i, world_.hosts.size()); ++i) {
    if (term(i) > own) return false;
  }
  return true;
}

void SimGuest::note_decided(int host) {
  const auto& book = *world_.at(host).book;
  const auto record = book.decided(name_);
  const auto [known, fresh] = decided_.emplace(record.term.value(), record);
  if (!fresh && known->second != record) world_.complain("two records of one term were decided");
  const bool of_old = record.term == Term{} || book.pending(name_);  // before this daemon's life
  if (!fresh || of_old || world_.disks_lost) return;
  const auto needed = book.decides_alone() ? 1 : world_.hosts.size() / 2 + 1;
  if (on_disks(record.term) < needed)
    world_.complain("a record was decided that a majority does not have on disk");
}

std::size_t SimGuest::on_disks(Term term) const {
  return static_cast<std::size_t>(std::ranges::count_if(world_.hosts, [&](const Host& host) {
    return std::ranges::any_of(host.disk.record(), [&](const peer::StoredRecord& one) {
      return one.guest() == name_ && one.record().term() >= term.value();
    });
  }));
}

void SimGuest::check_register() {
  outside_.check_register();
  world_.complain(outside_.complaint());
}

std::string SimGuest::unsettled() {
  for (auto& host : world_.hosts) {
    if (!host.book->ready() || host.book->pending(name_)) return "the hosts do not agree";
  }
  const auto record = world_.at(0).book->decided(name_);
  for (int i = 0; std::cmp_less(i, world_.hosts.size()); ++i) {
    auto& host = world_.at(i);
    if (host.book->decided(name_) != record) return "the hosts know different records";
    if (on(i).runs != (host.id == record.active)) return "the guest does not run where it should";
  }
  if (record.active == failover::nobody) return {};
  auto& active = on(static_cast<int>(record.active.value()) - 1);
  if (active.suspended) return "the guest is paused for good";
  const bool wished = !record.keep_on.empty();
  if (wished && record.backup == failover::nobody) return "the guest is not protected again";
  const auto output = record.backup == failover::nobody ? Output::open : Output::holding;
  return active.output() == output ? "" : "its output is not what it should be";
}

}  // namespace understudy::sim
