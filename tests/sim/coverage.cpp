#include "coverage.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace understudy::sim {
namespace {

using failover::nobody;
using failover::Record;

constexpr std::array action_names{"propose", "start",     "stop",    "end session",
                                  "promote", "hand over", "protect", "end protection",
                                  "suspend", "resume",    "output",  "answer"};
static_assert(action_names.size() == std::variant_size_v<failover::Action>);

enum Change : std::uint8_t {
  starts,
  stops_alone,
  stops_protected,
  is_protected,
  is_alone,
  backup_takes_over,
  switches_over,
  wish_only,
  starts_without,
};
constexpr std::array change_names{
    "stopped to alone",     "alone to stopped",   "protected to stopped",
    "alone to protected",   "protected to alone", "backup to alone",
    "protected to swapped", "nothing but a wish", "alone on a dead host to alone"};

constexpr std::array pace_names{"wait", "seal", "stall"};

/// Nothing: a guest would run where nobody knows its state, or a backup be exchanged for one that
/// holds nothing.
std::optional<Change> change(const Record& from, const Record& to, NodeId dead) {
  const bool was_protected = from.backup != nobody;
  if (from.active == nobody) return to.active == nobody ? wish_only : starts;
  if (to.active == nobody) return was_protected ? stops_protected : stops_alone;
  if (to.active == from.active) {
    if (to.backup == from.backup) return wish_only;
    if (to.backup == nobody) return is_alone;
    return was_protected ? std::nullopt : std::optional{is_protected};
  }
  if (to.active != from.backup) {
    const bool lost = from.active == dead && to.backup == nobody;
    return lost ? std::optional{starts_without} : std::nullopt;
  }
  return to.backup == from.active ? switches_over : backup_takes_over;
}

template <std::size_t N>
void tell(std::string& text, const char* what, const std::array<std::uint64_t, N>& counts,
          const std::array<const char*, N>& names) {
  std::vector<std::size_t> order(N);
  for (std::size_t i = 0; i < N; ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](std::size_t i) { return counts[i]; });
  std::vector<std::string> told;
  for (const auto i : order) told.push_back(fmt::format("{} {}", names[i], counts[i]));
  text += fmt::format("\n  {}: {} of {} seen: {}", what,
                      N - static_cast<std::size_t>(std::ranges::count(counts, 0U)), N,
                      fmt::join(told, ", "));
}

}  // namespace

bool Coverage::proposed(const Record& from, const Record& to, NodeId dead) {
  const auto kind = change(from, to, dead);
  if (kind) ++changes_.at(*kind);
  return kind.has_value();
}

Coverage& Coverage::operator+=(const Coverage& other) {
  const auto add = [](auto& mine, const auto& its) {
    std::ranges::transform(mine, its, mine.begin(), std::plus{});
  };
  add(actions_, other.actions_);
  add(changes_, other.changes_);
  add(paces_, other.paces_);
  return *this;
}

std::string Coverage::text() const {
  std::string text;
  tell(text, "changes of the record proposed", changes_, change_names);
  tell(text, "actions ordered", actions_, action_names);
  tell(text, "epochs were told to", paces_, pace_names);
  return text;
}

}  // namespace understudy::sim
