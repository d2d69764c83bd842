// How a history is thinned out: every epoch of the last seconds, then one each second, later one
// each minute. Pure.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "config/clock.hpp"

namespace understudy::checkpointer {

/// Of a run of points, the first is kept.
struct Thinning {
  std::size_t first;
  std::size_t count;  ///< two at least
};

/// `points`: how old the history's points are committed, oldest first. `kept(i)`: this one may not
/// go. Only runs that no later call would lengthen.
[[nodiscard]] std::vector<Thinning> plan_thinning(const std::vector<UnixTime>& points, UnixTime now,
                                                  const std::function<bool(std::size_t)>& kept);

}  // namespace understudy::checkpointer
