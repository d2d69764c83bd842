#include "failover/real_drill.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "config/limits.hpp"

namespace understudy::failover {

Result<> may_have(const Record& record, NodeId self, NodeId asker,
                  const peer::SwitchOverRequest& request) {
  if (record.active != self) return fail(ErrorKind::conflict, "it does not run there");
  if (record.backup != asker || record.term != Term{request.term()})
    return fail(ErrorKind::conflict, "who asked is not its backup, or not any more");
  return {};
}

RealDrill::RealDrill(Parties parties, Probes probes)
    : parties_{std::move(parties)},
      probes_{probes},
      phase_{probes == Probes::asked ? Phase::probe_first : Phase::move_away} {}

Result<RealDrill::Parties> RealDrill::plan(const std::string& guest, const std::string& here,
                                           const Seen& seen,
                                           const std::vector<std::string>& keep_on) {
  if (!seen.agreed) {
    return fail(ErrorKind::unavailable,
                "the hosts have not agreed on the records; see `understudy status`");
  }
  if (seen.active.empty()) return fail(ErrorKind::conflict, "guest {} does not run", guest);
  if (seen.active != here) {
    return fail(ErrorKind::conflict, "guest {} runs on host {}; give the command there", guest,
                seen.active);
  }
  if (seen.backup.empty()) {
    return fail(ErrorKind::conflict,
                "guest {} has no backup that could take over now; `understudy status` says why",
                guest);
  }
  const auto next =
      std::ranges::find_if(keep_on, [&](const std::string& host) { return host != seen.backup; });
  if (next == keep_on.end()) {
    return fail(ErrorKind::conflict,
                "on host {} nobody would protect guest {} again, and it could not come back: its "
                "configuration turns automatic protection off",
                seen.backup, guest);
  }
  if (*next != here) {
    return fail(ErrorKind::conflict,
                "on host {} guest {} would be protected to host {} first, and could not come back "
                "here; by its list of backups {} must come before {}",
                seen.backup, guest, *next, here, *next);
  }
  return Parties{guest, here, seen.backup};
}

RealDrill::Do RealDrill::look(const Seen& seen, TimePoint now) {
  if (ended()) return Do::end;
  if (!std::exchange(begun_, true)) {
    begun_at_ = advanced_at_ = now;
    copied_ = -1;
    return begin();
  }
  switch (phase_) {
    case Phase::move_away:
    case Phase::move_home: wait_for_move(seen, now); break;
    case Phase::protect_away:
    case Phase::protect_home: wait_for_protection(seen, now); break;
    default: break;
  }
  return ended() ? Do::end : Do::nothing;
}

RealDrill::Do RealDrill::begin() const {
  switch (phase_) {
    case Phase::probe_first:
    case Phase::probe_away:
    case Phase::probe_home: return Do::probe;
    case Phase::move_away: return Do::move_away;
    case Phase::move_home: return Do::move_home;
    default: return Do::nothing;
  }
}

/// Its answer may have been lost with a ring of the cluster; the record tells, too.
void RealDrill::wait_for_move(const Seen& seen, TimePoint now) {
  if (now - begun_at_ < limits::real_drill_move) return;
  const auto& target = phase_ == Phase::move_away ? parties_.away : parties_.home;
  if (seen.active == target) return after(phase_);
  give_up("the switchover was not answered in time");
}

void RealDrill::wait_for_protection(const Seen& seen, TimePoint now) {
  if (seen.active != runs_on()) return give_up("meanwhile the guest moved, or stopped");
  if (seen.backup == protected_to()) return after(phase_);
  if (!seen.backup.empty())
    return give_up(fmt::format("it was protected to host {} instead", seen.backup));
  if (std::exchange(copied_, seen.copied) != seen.copied) advanced_at_ = now;
  if (now - advanced_at_ > limits::real_drill_patience ||
      now - begun_at_ > limits::real_drill_copy) {
    give_up(fmt::format("it was not protected to host {} in time{}{}", protected_to(),
                        seen.obstacle.empty() ? "" : ": ", seen.obstacle));
  }
}

void RealDrill::enter(Phase phase) {
  phase_ = phase;
  begun_ = false;
}

/// What follows a part that has come to its end.
void RealDrill::after(Phase phase) {
  const bool ask = probes_ == Probes::asked;
  switch (phase) {
    case Phase::probe_first: return enter(Phase::move_away);
    case Phase::move_away: return enter(ask ? Phase::probe_away : Phase::protect_away);
    case Phase::probe_away: return enter(Phase::protect_away);
    case Phase::protect_away: return enter(Phase::move_home);
    case Phase::move_home: return enter(ask ? Phase::probe_home : Phase::protect_home);
    case Phase::probe_home: return enter(Phase::protect_home);
    case Phase::protect_home:
    case Phase::ended: return enter(Phase::ended);
  }
}

void RealDrill::probed(const Result<>& outcome) {
  if (begin() != Do::probe) return;
  if (!outcome && phase_ == Phase::probe_first)
    return give_up(outcome.error().message + ", before anything was done");
  if (!outcome && failure_.empty()) {
    failure_ = fmt::format("on host {}: {}", runs_on(), outcome.error().message);
  }
  after(phase_);
}

void RealDrill::moved(const Result<>& outcome) {
  if (phase_ != Phase::move_away && phase_ != Phase::move_home) return;
  if (outcome) return after(phase_);
  give_up(fmt::format("the switchover to host {} failed: {}",
                      phase_ == Phase::move_away ? parties_.away : parties_.home,
                      outcome.error().message));
}

void RealDrill::give_up(const std::string& why) {
  if (ended()) return;
  failure_ += (failure_.empty() ? "" : "; then ") + why;
  enter(Phase::ended);
}

std::string RealDrill::step() const {
  switch (phase_) {
    case Phase::probe_first: return "ask the guest before";
    case Phase::move_away: return "switch over to host " + parties_.away;
    case Phase::probe_away: return "ask the guest on host " + parties_.away;
    case Phase::protect_away: return "wait until it is protected to host " + parties_.home;
    case Phase::move_home: return "switch back to host " + parties_.home;
    case Phase::probe_home: return "ask the guest on host " + parties_.home;
    case Phase::protect_home: return "wait until it is protected to host " + parties_.away;
    case Phase::ended: return "end";
  }
  return {};
}

/// In the parts before it has moved, and after it has moved back, at home.
const std::string& RealDrill::runs_on() const {
  return phase_ == Phase::probe_away || phase_ == Phase::protect_away ? parties_.away
                                                                      : parties_.home;
}

const std::string& RealDrill::protected_to() const {
  return phase_ == Phase::protect_away ? parties_.home : parties_.away;
}

Result<> RealDrill::outcome(const Seen& seen) const {
  if (ended() && failure_.empty()) return {};
  const auto why = failure_.empty() ? "it was cut short at: " + step() : failure_;
  // Programs and hosts may say much; where the guest is must stand there nevertheless.
  return fail(ErrorKind::unavailable, "{}. {}", why.substr(0, limits::real_drill_failure_bytes),
              truth(seen));
}

/// Where the guest is now, and what to do.
std::string RealDrill::truth(const Seen& seen) const {
  const auto& [guest, home, away] = parties_;
  const auto known = seen.agreed ? "Now" : "By what this host knew last, for it has no quorum,";
  if (seen.active.empty()) {
    return fmt::format("{} guest {} runs nowhere: `understudy status`, then `understudy start {}`",
                       known, guest, guest);
  }
  const auto backup = seen.backup.empty() ? "without a backup" : "protected to " + seen.backup;
  if (seen.active == home) {
    return fmt::format("{} guest {} runs at home, on host {}, {}{}", known, guest, home, backup,
                       seen.backup.empty() ? "; `understudy status` says what it waits for" : "");
  }
  return fmt::format(
      "{} guest {} runs on host {}, not at home, {}. To bring it home: `understudy switchover {}` "
      "on host {}{}",
      known, guest, seen.active, backup, guest, seen.active,
      seen.backup == home
          ? ""
          : fmt::format(", once `understudy status` there says PROTECTED to {}", home));
}

}  // namespace understudy::failover
