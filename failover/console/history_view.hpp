// A guest's past on the terminal: what can be gone back to, the clones of it, and how a moment is
// written. Pure.
#pragma once

#include <string>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "failover/console/text.hpp"
#include "failover/control.pb.h"

namespace understudy::failover::console {

[[nodiscard]] std::string history_view(const control::History& history, UnixTime now,
                                       const Paint& paint);
[[nodiscard]] std::string point_text(const control::HistoryPoint& point);
[[nodiscard]] std::string rewound_view(const control::Rewound& rewound, const Paint& paint);
[[nodiscard]] std::string clone_view(const control::CloneInfo& clone, const Paint& paint);
[[nodiscard]] std::string clones_view(const control::CloneList& clones, const Paint& paint);
[[nodiscard]] std::string exported_view(const control::Exported& exported, const Paint& paint);

/// Of --at, --ago and --epoch, at most one of which is given. UTC.
[[nodiscard]] Result<control::Moment> parse_moment(const std::string& at, const std::string& ago,
                                                   const std::string& epoch);

}  // namespace understudy::failover::console
