// How the console prints drills. Pure.
#pragma once

#include <string>

#include "failover/console/text.hpp"
#include "failover/control.pb.h"

namespace understudy::failover::console {

[[nodiscard]] std::string drill_view(const control::DrillReport& drill, const Paint& paint);
/// What a probe said, on one line.
[[nodiscard]] std::string probe_line(const control::ProbeReport& probe, const Paint& paint);
/// A line each.
[[nodiscard]] std::string drills_view(const control::DrillList& drills, const Paint& paint);

}  // namespace understudy::failover::console
