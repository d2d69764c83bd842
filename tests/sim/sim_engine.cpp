// What a guest's roles order, as its engines do it: some day.
#include "config/limits.hpp"
#include "failover_world.hpp"
#include "sim_guest.hpp"

namespace understudy::sim {

namespace act = failover::act;

void SimGuest::perform(int host, const act::Propose& action) {
  auto& book = *world_.at(host).book;
  if (!world_.coverage.proposed(book.decided(name_), action.next, book.dead()))
    world_.complain("a host proposes what none may");
  world_.send(host, {book.propose(name_, action.next)});
}

void SimGuest::perform(int host, const act::StartGuest& /*action*/) {
  on(host).engine.emplace_back([this, host] {
    auto& here = on(host);
    here.runs = true;
    here.suspended = false;
    here.primary.reset();
    here.gate.rule(Output::closed);
    here.guest = outside_.boot(world_.clock);
    here.role->started({});
  });
}

void SimGuest::perform(int host, const act::StopGuest& /*action*/) {
  on(host).gate.rule(Output::closed);
  on(host).engine.emplace_back([this, host] {
    auto& here = on(host);
    here.runs = here.suspended = false;
    here.replica.reset();
    here.primary.reset();
    if (session_from == host || session_to == host) lose_session("stopped");
    here.role->stopped();
  });
}

void SimGuest::perform(int host, const act::EndSession& /*action*/) {
  if (session_to == host && world_.mutant != Mutant::acknowledges_to_the_end)
    lose_session("ended by the backup");
}

void SimGuest::perform(int host, const act::Promote& action) {
  on(host).engine.emplace_back([this, host, output = action.output] { promote(host, output); });
}

void SimGuest::promote(int host, Output output) {
  auto& here = on(host);
  if (!here.replica || world_.pick(4) < world_.failing_promotions) {
    here.replica.reset();
    return here.role->promoted(fail(ErrorKind::io, "QEMU refuses"));
  }
  const auto at = here.replica->at;
  if (output == Output::open && !outside_.has_seen_no_more_than(at))
    world_.complain("the promoted replica is behind what the outside has seen");
  // One that has not heard of a newer record will throw its guest away unseen.
  if (output == Output::holding && knows_newest(host) && handed_over_ && at != *handed_over_)
    world_.complain("the switchover has lost something");
  ++(output == Output::holding ? switchovers : promotions);
  here.runs = true;
  here.suspended = false;
  here.primary.reset();
  here.gate.rule(Output::closed);
  here.gate.rule(world_.mutant == Mutant::shows_before_alone ? Output::open : output);
  here.guest = outside_.branch(*here.replica, world_.clock);
  if (world_.mutant != Mutant::acknowledges_to_the_end) here.replica.reset();
  here.role->promoted({});
}

void SimGuest::perform(int host, const act::HandOver& /*action*/) {
  on(host).engine.emplace_back([this, host, since = world_.clock] { hand_over(host, since); });
}

/// The engine does nothing else until the backup holds the last epoch.
void SimGuest::hand_over(int host, TimePoint since) {
  auto& here = on(host);
  if (!here.primary || !here.runs || (here.suspended && !here.primary->last))
    return here.role->handed_over(fail(ErrorKind::closed, "not protected from here"));
  auto& primary = *here.primary;
  const bool late = world_.clock - since > limits::switchover_commit;
  if (!primary.last && session_from == host && primary.epochs.may_seal()) {
    here.suspended = world_.mutant != Mutant::goes_on_after_hand_over;
    handed_over_ = here.guest.at;
    primary.last = primary.epochs.running();
    if (world_.mutant != Mutant::hands_over_uncommitted) seal(host);
  }
  const bool uncommitted = !primary.last || primary.epochs.committed() < *primary.last;
  if (uncommitted && world_.mutant != Mutant::hands_over_uncommitted) {
    if (session_from != host) return end_hand_over(host, {ErrorKind::closed, "it went away"});
    if (late) return end_hand_over(host, {ErrorKind::timed_out, "the backup does not answer"});
    here.engine.emplace_front([this, host, since] { hand_over(host, since); });
    return;
  }
  primary.last.reset();
  here.role->handed_over({});
}

void SimGuest::end_hand_over(int host, const Error& why) {
  auto& here = on(host);
  here.suspended = false;
  here.primary->last.reset();
  handed_over_.reset();
  here.role->handed_over(fail(why));
}

void SimGuest::perform(int host, const act::Protect& action) {
  on(host).engine.emplace_back([this, host, action] { begin_session(host, action); });
}

void SimGuest::perform(int host, const act::EndProtection& /*action*/) {
  on(host).engine.emplace_back([this, host] {
    if (session_from == host) lose_session("ended");
    on(host).primary.reset();
    on(host).role->protection_ended();
  });
}

void SimGuest::perform(int host, const act::Suspend& /*action*/) {
  on(host).engine.emplace_back([this, host] { on(host).suspended = true; });
}

void SimGuest::perform(int host, const act::Resume& /*action*/) {
  on(host).engine.emplace_back([this, host] {
    on(host).suspended = false;
    handed_over_.reset();  // the decision had not been heard of in time: the guest runs on
  });
}

void SimGuest::perform(int host, const act::SetOutput& action) {
  const bool shows =
      action.output == Output::closed && world_.mutant == Mutant::shows_without_quorum;
  on(host).gate.rule(shows ? Output::open : action.output);
  let_out(host);
}

void SimGuest::perform(int host, const act::Answer& action) {
  on(host).answers.push_back(action.result);
}

}  // namespace understudy::sim
