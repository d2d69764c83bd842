#include "failover/console/drill_view.hpp"

#include <algorithm>
#include <functional>
#include <vector>

#include <fmt/format.h>

namespace understudy::failover::console {
namespace {

constexpr std::size_t said_columns = 60;
constexpr std::size_t failure_columns = 1000;  // where the guest is stands at the end

std::string verdict(bool passed, const Paint& paint) {
  return passed ? paint("passed", Colour::green) : paint("FAILED", Colour::red);
}

std::string recovery(const control::DrillReport& drill) {
  return drill.recovery_us() == 0 ? "no probe passed"
                                  : "recovered in " + span_text(drill.recovery_us());
}

bool is_real(const control::DrillReport& drill) {
  return drill.kind() == "real";
}

std::string moves_text(const control::DrillReport& drill) {
  std::string text;
  for (const auto& move : drill.move()) {
    text += fmt::format("  from {} to {}: {}\n", clip(move.from(), 24), clip(move.to(), 24),
                        move.stood_still_us() == 0
                            ? "moved"
                            : "stood still for " + span_text(move.stood_still_us()));
  }
  if (!drill.probes_skipped().empty())
    text += fmt::format("  the guest was not asked: {}\n", clip(drill.probes_skipped(), 200));
  return text;
}

}  // namespace

std::string probe_line(const control::ProbeReport& probe, const Paint& paint) {
  const auto first_line = probe.said().substr(0, probe.said().find('\n'));
  return fmt::format("  {:<24} {} in {}: {}\n", clip(probe.name(), 24),
                     verdict(probe.passed(), paint), span_text(probe.took_us()),
                     clip(first_line, said_columns));
}

std::string drill_view(const control::DrillReport& drill, const Paint& paint) {
  auto text = fmt::format("{}drill {}: {}\n", is_real(drill) ? "real " : "",
                          paint(drill.id(), Colour::bold), verdict(drill.passed(), paint));
  if (!drill.passed()) text += fmt::format("  {}\n", clip(drill.failure(), failure_columns));
  text += is_real(drill) ? fmt::format("  {}\n", recovery(drill)) + moves_text(drill)
                         : fmt::format("  epoch {}, {} old at the command; {}\n", drill.epoch(),
                                       span_text(drill.recovery_point_us()), recovery(drill));
  for (const auto& probe : drill.probe()) text += probe_line(probe, paint);
  text += fmt::format("  real guest's commits: p50 {} before, {} at worst\n",
                      duration_text(drill.before().commit_latency_p50_us()),
                      duration_text(drill.worst().commit_latency_p50_us()));
  return text;
}

std::string drills_view(const control::DrillList& drills, const Paint& paint) {
  std::vector<control::DrillReport> all{drills.drill().begin(), drills.drill().end()};
  all.insert(all.end(), drills.elsewhere().begin(), drills.elsewhere().end());
  std::ranges::stable_sort(all, std::ranges::greater{}, &control::DrillReport::started_unix_us);
  std::string text;
  if (all.empty()) text = "no drill is known of, on this host or another\n";
  for (const auto& drill : all) {
    text += fmt::format("{}  {:<10} {:<16} {}  {}{}\n", time_text(drill.started_unix_us()),
                        clip(drill.host(), 10), clip(drill.guest(), 16),
                        verdict(drill.passed(), paint), is_real(drill) ? "real: " : "",
                        drill.passed() ? recovery(drill) : clip(drill.failure(), said_columns));
  }
  for (const auto& next : drills.next()) {
    text += fmt::format("{}  {:<16} next, by schedule \"{}\", {}\n", time_text(next.at_unix_us()),
                        clip(next.guest(), 16), next.schedule(),
                        next.real() ? "real: the guest itself, from where it runs then"
                                    : "where its replica is then");
  }
  return text;
}

}  // namespace understudy::failover::console
