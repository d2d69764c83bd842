#include "checkpointer/pacer.hpp"

#include <algorithm>

namespace understudy::checkpointer {

Pacer::Decision Pacer::decide(const Pace& pace) const {
  if (!pace.room) {
    const auto patience = pace.resumed + settings_.interval * stretch;
    if (pace.now < patience) return {Act::wait, patience};
    // A broken link is not a slow one: the guest runs on with its output held, until the link is
    // back or a quorum has decided.
    return {pace.link_up ? Act::stall : Act::wait, pace.now + settings_.interval};
  }
  const auto length = pace.pressed        ? settings_.min_interval
                      : pace.output_waits ? shortest()
                                          : settings_.interval;
  const auto due = pace.resumed + length;
  if (pace.now >= due || (pace.idle && idle_matters(pace))) return {Act::seal, due};
  const auto next_look = std::max(pace.now + look, pace.resumed + shares(idle_share));
  return {Act::wait, pace.output_waits ? std::min(due, next_look) : due};
}

bool Pacer::idle_matters(const Pace& pace) const {
  return pace.room && pace.output_waits && pace.now >= pace.resumed + shares(idle_share);
}

void Pacer::paused(Duration pause) {
  // One long pause is weather, several are climate.
  typical_pause_ = typical_pause_ == Duration{} ? pause : (typical_pause_ * 7 + pause) / 8;
}

Duration Pacer::shares(int share) const {
  return std::clamp(typical_pause_ * share, settings_.min_interval, settings_.interval);
}

}  // namespace understudy::checkpointer
