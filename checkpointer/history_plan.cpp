#include "checkpointer/history_plan.hpp"

#include <tuple>

#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

/// Density and place: points of one slot become one.
using Slot = std::tuple<int, std::int64_t>;

constexpr int each = 0;

/// A slot changes its density as a whole, when the last moment of it is old enough.
Slot slot_of(UnixTime point, UnixTime now) {
  const auto minute = std::chrono::floor<std::chrono::minutes>(point);
  if (now - (minute + std::chrono::minutes{1}) >= limits::history_each_second)
    return {2, minute.time_since_epoch().count()};
  const auto second = std::chrono::floor<seconds>(point);
  if (now - (second + seconds{1}) >= limits::history_each_epoch)
    return {1, second.time_since_epoch().count()};
  return {each, 0};
}

}  // namespace

std::vector<Thinning> plan_thinning(const std::vector<UnixTime>& points, UnixTime now,
                                    const std::function<bool(std::size_t)>& kept) {
  std::vector<Thinning> runs;
  for (std::size_t i = 0; i < points.size();) {
    const auto slot = slot_of(points[i], now);
    auto end = i + 1;
    while (std::get<0>(slot) != each && end < points.size() && slot_of(points[end], now) == slot &&
           !kept(end)) {
      ++end;
    }
    if (end - i > 1) runs.push_back({i, end - i});
    i = end;
  }
  return runs;
}

}  // namespace understudy::checkpointer
