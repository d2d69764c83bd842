#include "failover/hooks/state_watch.hpp"

#include <utility>

#include <fmt/format.h>

#include "config/config.pb.h"

namespace understudy::failover {
namespace {

using config::Hook;

control::Event event_of(Hook::Event what, std::string detail) {
  control::Event event;
  event.set_event(Hook::Event_Name(what));
  event.set_detail(std::move(detail));
  return event;
}

control::Event of_guest(Hook::Event what, const control::Guest& guest, std::string detail) {
  auto event = event_of(what, std::move(detail));
  event.set_guest(guest.name());
  event.set_state(control::GuestState_Name(guest.state()));
  event.set_active_host(guest.active_host());
  event.set_backup_host(guest.backup_host());
  return event;
}

}  // namespace

StateWatch::Events StateWatch::look(const control::Guest& guest) {
  const auto found = guests_.find(guest.name());
  const bool first = found == guests_.end();
  const Known before = first ? Known{} : found->second;
  auto known = before;
  known.state = guest.state();
  known.ours = guest.active_host() == host_ || (guest.active_host().empty() && before.ours);
  known.promoted = guest.last_failover().running_unix_us();
  Events events;
  if (!first && (known.ours || before.ours)) events = changes(before, known, guest);
  if (first) known.was_protected = known.ours && known.state == control::PROTECTED;
  // What was lost is not told again by a host that has given the guest away.
  if (!known.ours) known.was_protected = known.lost = false;
  guests_[guest.name()] = known;
  return events;
}

StateWatch::Events StateWatch::changes(const Known& before, Known& known,
                                       const control::Guest& guest) const {
  Events events;
  const auto& name = guest.name();
  if (known.ours && known.promoted != 0 && known.promoted != before.promoted) {
    const bool planned = guest.last_failover().planned();
    events.push_back(
        of_guest(planned ? Hook::SWITCHED_OVER : Hook::FAILED_OVER, guest,
                 fmt::format("guest {} runs on host {} now{}", name, host_,
                             planned ? ", as an operator asked" : ": its host was lost")));
    known.lost = true;  // it has no replica: its return is worth telling
  }
  if (known.ours && known.state == control::PROTECTED) {
    if (std::exchange(known.lost, false)) {
      events.push_back(of_guest(
          Hook::PROTECTION_REGAINED, guest,
          fmt::format("guest {} is protected again, by host {}", name, guest.backup_host())));
    }
    known.was_protected = true;
  }
  const bool alone = known.state == control::UNPROTECTED || known.state == control::SYNCHRONISING;
  if (known.ours && alone && std::exchange(known.was_protected, false) && !known.lost) {
    known.lost = true;
    events.push_back(of_guest(Hook::PROTECTION_LOST, guest,
                              fmt::format("guest {} runs without a replica", name)));
  }
  if (known.state != before.state && known.ours && before.ours) {
    auto event = of_guest(Hook::GUEST_STATE, guest, "");
    event.set_before(control::GuestState_Name(before.state));
    event.set_detail(fmt::format("guest {}: {} after {}", name, event.state(), event.before()));
    events.push_back(std::move(event));
  }
  return events;
}

StateWatch::Events StateWatch::look(const control::Quorum& quorum) {
  Events events;
  if (const auto before = std::exchange(quorate_, quorum.quorate());
      before && *before != quorum.quorate()) {
    events.push_back(
        event_of(quorum.quorate() ? Hook::QUORUM_REGAINED : Hook::QUORUM_LOST,
                 fmt::format("host {} has {}quorum", host_, quorum.quorate() ? "" : "no ")));
  }
  std::set<std::string> present;
  for (const auto& member : quorum.member()) {
    if (member.present()) present.insert(member.name());
  }
  if (!present.contains(host_)) return events;  // we see nobody: that says nothing of them
  const auto before = std::exchange(members_, present);
  for (const auto& member : quorum.member()) {
    const auto& name = member.name();
    if (!before || before->contains(name) == member.present()) continue;
    events.push_back(event_of(
        member.present() ? Hook::HOST_RETURNED : Hook::HOST_LOST,
        fmt::format("host {} is {} the cluster", name, member.present() ? "in" : "not in")));
    events.back().set_subject(name);
  }
  return events;
}

control::Event StateWatch::finished(const control::DrillReport& drill) {
  auto event = event_of(Hook::DRILL_FINISHED,
                        drill.passed() ? fmt::format("the drill of guest {} passed", drill.guest())
                                       : fmt::format("the drill of guest {} failed: {}",
                                                     drill.guest(), drill.failure()));
  event.set_guest(drill.guest());
  event.set_subject(drill.id());
  event.set_state(drill.passed() ? "PASSED" : "FAILED");
  return event;
}

}  // namespace understudy::failover
