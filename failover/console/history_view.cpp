#include "failover/console/history_view.hpp"

#include <charconv>
#include <cmath>
#include <ctime>
#include <optional>

#include <fmt/format.h>

#include "failover/console/drill_view.hpp"

namespace understudy::failover::console {
namespace {

std::string branch_line(const control::Branch& branch) {
  return fmt::format("  branch: {} ({})\n", clip(branch.path(), 300),
                     bytes_text(static_cast<double>(branch.bytes())));
}

/// "30s", "1.5m", "2h", "1d"; without a unit: seconds.
std::optional<std::uint64_t> parse_span(const std::string& text) {
  double value{};
  const auto* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  const std::string_view unit{at, static_cast<std::size_t>(end - at)};
  double factor = 0;
  if (unit.empty() || unit == "s") factor = 1;
  if (unit == "ms") factor = 1e-3;
  if (unit == "m" || unit == "min") factor = 60;
  if (unit == "h") factor = 3600;
  if (unit == "d") factor = 86'400;
  constexpr double longest_s = 1e9;
  if (error != std::errc{} || factor == 0 || !(value >= 0) || value * factor > longest_s)
    return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(value * factor * 1e6));
}

/// "2026-11-21 02:51:07.250", with T for the space and Z behind it as others write it.
std::optional<std::uint64_t> parse_time(std::string text) {
  if (!text.empty() && text.back() == 'Z') text.pop_back();
  if (text.size() > 10 && text[10] == 'T') text[10] = ' ';
  std::tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  double fraction = 0;
  if (*rest == '.') {
    const auto* end = text.c_str() + text.size();
    const auto [at, error] = std::from_chars(rest, end, fraction, std::chars_format::fixed);
    if (error != std::errc{}) return std::nullopt;
    rest = at;
  }
  const auto whole = ::timegm(&parts);
  if (*rest != '\0' || whole < 0) return std::nullopt;
  return static_cast<std::uint64_t>(whole) * 1'000'000 +
         static_cast<std::uint64_t>(std::llround(fraction * 1e6));
}

}  // namespace

std::string point_text(const control::HistoryPoint& point) {
  const auto us = point.committed_unix_us();
  auto time = time_text(us);
  time.insert(std::min<std::size_t>(19, time.size()), fmt::format(".{:03}", us / 1000 % 1000));
  return fmt::format("epoch {} of {}", point.epoch(), time);
}

std::string history_view(const control::History& history, UnixTime now, const Paint& paint) {
  std::string text = fmt::format("history of {}: ", paint(history.guest(), Colour::bold));
  if (!history.obstacle().empty()) {
    text += "none here: " + clip(history.obstacle(), 200) + "\n";
  } else if (!history.has_newest()) {
    text += "nothing can be gone back to yet\n";
  } else {
    const auto oldest = history.oldest().committed_unix_us();
    const auto now_us = unix_us(now);
    text += fmt::format("{} points, {} back\n", count_text(history.points()),
                        span_text(now_us - std::min(now_us, oldest)));
    text += fmt::format("  from {}\n  to   {}\n", point_text(history.oldest()),
                        point_text(history.newest()));
  }
  for (const auto& band : history.band()) {
    if (band.points() == 0) continue;
    const auto until =
        band.until_age_us() == 0 ? std::string{"older"} : "until " + span_text(band.until_age_us());
    text += fmt::format("  {:<14} {:>8} points  {}\n", until, count_text(band.points()),
                        bytes_text(static_cast<double>(band.bytes())));
  }
  if (history.obstacle().empty()) {
    text += fmt::format(
        "  {} of {}; at most {} back\n", bytes_text(static_cast<double>(history.bytes())),
        bytes_text(static_cast<double>(history.max_bytes())), span_text(history.depth_us()));
  }
  if (history.losses() > 0) {
    text += fmt::format("  {} {} times, the last time because {}\n",
                        paint("it was lost", Colour::yellow), history.losses(),
                        clip(history.loss(), 200));
  }
  for (const auto& branch : history.branch()) text += branch_line(branch);
  return text;
}

std::string exported_view(const control::Exported& exported, const Paint& paint) {
  control::HistoryPoint point;
  point.set_epoch(exported.epoch());
  point.set_committed_unix_us(exported.committed_unix_us());
  constexpr double page_bytes = 4096;
  constexpr double chunk_bytes = 65'536;
  return fmt::format("guest {}: {}\n  in {} ({}: {} of memory, {} of disks)\n",
                     paint(clip(exported.guest(), 64), Colour::bold), point_text(point),
                     exported.path(), bytes_text(static_cast<double>(exported.bytes())),
                     bytes_text(static_cast<double>(exported.pages()) * page_bytes),
                     bytes_text(static_cast<double>(exported.chunks()) * chunk_bytes));
}

std::string rewound_view(const control::Rewound& rewound, const Paint& paint) {
  auto text = fmt::format("guest {} has gone back to {}, and runs on host {}\n",
                          paint(clip(rewound.guest(), 64), Colour::bold), point_text(rewound.now()),
                          rewound.host());
  if (rewound.stood_still_us() > 0)
    text += fmt::format("  it stood still for {}\n", span_text(rewound.stood_still_us()));
  text += fmt::format("  abandoned: {}\n", point_text(rewound.abandoned()));
  return text + branch_line(rewound.branch());
}

std::string clone_view(const control::CloneInfo& clone, const Paint& paint) {
  control::HistoryPoint point;
  point.set_epoch(clone.epoch());
  point.set_committed_unix_us(clone.committed_unix_us());
  auto text = fmt::format("clone {} of guest {}: ", paint(clone.id(), Colour::bold),
                          paint(clip(clone.guest(), 64), Colour::bold));
  if (!clone.ended().empty())
    return text + paint("it ended", Colour::yellow) + ": " + clip(clone.ended(), 200) + "\n";
  text += point_text(point) + "\n";
  text += fmt::format("  its network: nsenter --net={} COMMAND\n", clone.network());
  if (!clone.address().empty()) text += fmt::format("  the guest is {} there\n", clone.address());
  if (!clone.gdb().empty()) text += fmt::format("  gdb: target remote {}\n", clone.gdb());
  text += fmt::format("  console: {}\n", clone.console_log());
  if (clone.memory_bytes() > 0) {
    text +=
        fmt::format("  of its {} of memory {} are its own, the rest is shared with the replica\n",
                    bytes_text(static_cast<double>(clone.memory_bytes())),
                    bytes_text(static_cast<double>(clone.own_memory_bytes())));
  }
  for (const auto& probe : clone.probe()) text += probe_line(probe, paint);
  text += fmt::format("  to end it: understudy clone {} --stop {}\n", clip(clone.guest(), 64),
                      clone.id());
  return text;
}

std::string clones_view(const control::CloneList& clones, const Paint& paint) {
  if (clones.clone().empty()) return "there is no clone on this host\n";
  std::string text;
  for (const auto& clone : clones.clone()) text += clone_view(clone, paint);
  return text;
}

Result<control::Moment> parse_moment(const std::string& at, const std::string& ago,
                                     const std::string& epoch) {
  control::Moment moment;
  if (!at.empty()) {
    const auto time = parse_time(at);
    if (!time) {
      return fail(ErrorKind::invalid, "{}: write a time of UTC like \"2026-11-21 02:51:07.250\"",
                  at);
    }
    moment.set_at_unix_us(*time);
  }
  if (!ago.empty()) {
    const auto us = parse_span(ago);
    if (!us) return fail(ErrorKind::invalid, "{}: write it like 30s, 5m, 2h or 1d", ago);
    moment.set_ago_us(*us);
  }
  if (!epoch.empty()) {
    std::uint64_t number{};
    const auto* end = epoch.data() + epoch.size();
    const auto [rest, error] = std::from_chars(epoch.data(), end, number);
    if (error != std::errc{} || rest != end)
      return fail(ErrorKind::invalid, "{}: give the number of an epoch", epoch);
    moment.set_epoch(number);
  }
  return moment;
}

}  // namespace understudy::failover::console
