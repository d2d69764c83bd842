#include "failover/reporter.hpp"

#include <utility>

namespace understudy::failover {

Reporter::Reporter(const Settings& settings)
    : here_{settings.this_host().name()}, watch_{here_}, hooks_{settings}, timeline_{settings} {}

void Reporter::look(const control::Quorum& quorum, const std::vector<GuestHost*>& guests) {
  auto events = watch_.look(quorum);
  for (const auto* one : guests) {
    for (auto& event : watch_.look(one->outline())) events.push_back(std::move(event));
  }
  for (auto& event : events) tell(std::move(event));
}

void Reporter::know(const control::DrillList& drills) {
  for (const auto& drill : drills.drill()) {
    // A host that was renamed has evidence of its old name.
    if (drill.host() == here_) timeline_.add(drill);
  }
}

void Reporter::finished(const control::DrillReport& drill) {
  timeline_.add(drill);
  tell(StateWatch::finished(drill));
}

void Reporter::tell(control::Event event) {
  timeline_.add(hooks_.tell(std::move(event)));
}

/// Whoever is new, or was away, has missed some; so has everybody what was under way meanwhile.
void Reporter::on_view(const View& view) {
  alone_ = view.members.size() < 2;
  timeline_.tell_again();
}

std::optional<peer::Timeline> Reporter::to_tell() {
  return alone_ ? std::nullopt : timeline_.next(unix_now());
}

control::DrillList Reporter::with_elsewhere(control::DrillList drills) const {
  timeline_.add_elsewhere(drills);
  return drills;
}

}  // namespace understudy::failover
