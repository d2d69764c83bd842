#include "failover/drill_evidence.hpp"

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include "config/content_hash.hpp"
#include "config/limits.hpp"
#include "config/names.hpp"
#include "failover/console/status_json.hpp"
#include "failover/console/text.hpp"

namespace understudy::failover {
namespace {

namespace fs = std::filesystem;
using console::duration_text;
using console::html_text;

std::string row(const std::string& name, const std::string& value) {
  return fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", html_text(name),
                     html_text(value));
}

std::string span(std::uint64_t us) {
  return duration_text(static_cast<double>(us));
}

std::string impact_text(const control::DrillImpact& impact) {
  return fmt::format("commits {}, pauses {} (p50){}", duration_text(impact.commit_latency_p50_us()),
                     duration_text(impact.pause_p50_us()), impact.throttled() ? ", throttled" : "");
}

std::string moves_rows(const control::DrillReport& report) {
  std::string rows;
  for (const auto& move : report.move()) {
    rows += row(fmt::format("Stood still, from {} to {}", move.from(), move.to()),
                move.stood_still_us() == 0 ? "not known" : span(move.stood_still_us()));
  }
  if (!report.probes_skipped().empty()) rows += row("Not asked", report.probes_skipped());
  return rows;
}

std::string memory_row(const control::DrillReport& report) {
  if (report.own_memory_bytes() == 0) return {};
  return row("Memory of the clone, not shared with the replica",
             console::bytes_text(static_cast<double>(report.own_memory_bytes())));
}

std::string facts(const control::DrillReport& report) {
  const bool real = report.kind() == "real";
  return row("Result", report.passed() ? "passed" : "FAILED: " + report.failure()) +
         row("Kind", real ? "the guest itself, to its backup and back" : "a clone") +
         row("Guest", report.guest()) +
         row(real ? "Given on host" : "Host of the clone",
             fmt::format("{} (cluster {})", report.host(), report.cluster())) +
         row("Begun", console::time_text(report.started_unix_us())) +
         row("Ended, all cleaned up", console::time_text(report.finished_unix_us())) +
         moves_rows(report) +
         row("Recovery point (age of the newest commit)", span(report.recovery_point_us())) +
         row(real ? "Recovery time (order to move to the first probe that passed there)"
                  : "Recovery time (command to the first probe that passed)",
             report.recovery_us() == 0 ? "none passed" : span(report.recovery_us())) +
         row("Epoch", fmt::format("{}", report.epoch())) + memory_row(report) +
         row("The real guest before", impact_text(report.before())) +
         row("The real guest meanwhile, at worst", impact_text(report.worst())) +
         row("Versions",
             fmt::format("understudyd {}{}{}", report.version(),
                         report.hypervisor().empty() ? "" : ", ", report.hypervisor())) +
         row("Configuration (XXH3-128)", report.configuration_hash());
}

std::string steps_table(const control::DrillReport& report) {
  std::string rows;
  for (const auto& step : report.step()) {
    rows += fmt::format("<tr><td>{}</td><td>+{}</td><td>{}</td></tr>\n", html_text(step.name()),
                        span(step.begin_us()), span(step.took_us()));
  }
  return "<table>\n<tr><th>Step</th><th>Begun</th><th>Took</th></tr>\n" + rows + "</table>\n";
}

std::string probes_table(const control::DrillReport& report) {
  std::string rows;
  for (const auto& probe : report.probe()) {
    rows +=
        fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><pre>{}</pre></td></tr>\n",
                    html_text(probe.name()), probe.passed() ? "passed" : "FAILED", probe.attempts(),
                    span(probe.took_us()), html_text(probe.said()));
  }
  return "<table>\n<tr><th>Probe</th><th>Result</th><th>Attempts</th><th>Took</th><th>Said</th></"
         "tr>\n" +
         rows + "</table>\n";
}

Result<> write_whole(const fs::path& path, const std::string& text) {
  const auto draft = path.string() + ".new";
  {
    std::ofstream file{draft, std::ios::binary | std::ios::trunc};
    if (!(file << text << std::flush)) return fail_errno(draft);
  }
  std::error_code error;
  fs::rename(draft, path, error);
  if (error) return fail_errno(path.string(), error.value());
  return {};
}

std::optional<control::DrillReport> read_report(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  std::string text(limits::drill_report_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  control::DrillReport report;
  if (!google::protobuf::util::JsonStringToMessage(text, &report).ok() ||
      report.id() != path.stem() || !valid_name(report.id()))
    return std::nullopt;
  return report;
}

}  // namespace

std::string drill_id(const std::string& guest, UnixTime at) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at.time_since_epoch());
  // Room for the moment in what may be a file's name.
  return fmt::format("{}-{:%Y%m%dT%H%M%SZ}", guest.substr(0, limits::name_length - 17),
                     fmt::gmtime(static_cast<std::time_t>(seconds.count())));
}

std::string configuration_hash(const config::Guest& guest, const config::Drill& plan) {
  auto all = guest;
  *all.mutable_drill() = plan;
  std::string text;
  google::protobuf::TextFormat::PrintToString(all, &text);
  std::string hex;
  for (const char byte : content_hash(std::as_bytes(std::span{text})))
    hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

control::DrillSummary summary_of(const control::DrillReport& report) {
  control::DrillSummary summary;
  summary.set_started_unix_us(report.started_unix_us());
  summary.set_passed(report.passed());
  summary.set_recovery_us(report.recovery_us());
  return summary;
}

std::string drill_page(const control::DrillReport& report) {
  const auto title = html_text("Failover drill " + report.id());
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n<title>{0}</title>\n"
      "<style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui, sans-serif; "
      "max-width: 60rem; margin: 2rem auto; padding: 0 1rem }} table {{ border-collapse: collapse; "
      "width: 100%; margin-bottom: 1.5rem }} th, td {{ text-align: left; vertical-align: top; "
      "padding: .4rem; border-bottom: 1px solid #8886 }} pre {{ margin: 0; white-space: pre-wrap "
      "}}</style></head>\n<body>\n<h1>{0}</h1>\n<table>\n{1}</table>\n<h2>Probes</h2>\n{2}"
      "<h2>Steps</h2>\n{3}</body>\n</html>\n",
      title, facts(report), probes_table(report), steps_table(report));
}

DrillBook::DrillBook(const std::string& state_dir) : directory_{state_dir + "/drills"} {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator{directory_, none}) {
    const auto& path = entry.path();
    if (path.extension() == ".new") fs::remove(path, none);  // of a daemon that ended in between
    if (path.extension() != ".json") continue;
    if (auto report = read_report(path)) reports_.push_back(std::move(*report));
  }
  std::ranges::sort(reports_, std::greater{}, &control::DrillReport::started_unix_us);
}

Result<> DrillBook::add(const control::DrillReport& report) {
  reports_.insert(reports_.begin(), report);
  while (reports_.size() > limits::drill_reports) drop_oldest();
  std::error_code error;
  fs::create_directories(directory_, error);
  const auto base = directory_ + "/" + report.id();
  UNDERSTUDY_CHECK(
      write_whole(base + ".json", console::json_text(report, console::JsonLayout::pretty)));
  return write_whole(base + ".html", drill_page(report));
}

void DrillBook::drop_oldest() {
  std::error_code none;
  for (const auto* suffix : {".json", ".html"})
    fs::remove(directory_ + "/" + reports_.back().id() + suffix, none);
  reports_.pop_back();
}

const control::DrillReport* DrillBook::last(const std::string& guest) const {
  const auto found = std::ranges::find(reports_, guest, &control::DrillReport::guest);
  return found == reports_.end() ? nullptr : &*found;
}

}  // namespace understudy::failover
