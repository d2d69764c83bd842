#include "failover/console/sla_view.hpp"

#include <vector>

#include <fmt/format.h>
#include <boost/json.hpp>

namespace understudy::failover::console {
namespace {

struct Line {
  std::string name;
  std::string value;
};

std::string month_text(std::uint32_t month) {
  return fmt::format("{:04}-{:02}", month / 100, month % 100);
}

std::string percent(double ratio) {
  return fmt::format("{:.4f} %", ratio * 100);
}

std::string span_or_none(std::uint64_t us) {
  return us == 0 ? "none" : span_text(us);
}

std::vector<Line> lines_of(const Sla& sla) {
  const auto& month = sla.month;
  std::vector<Line> lines{
      {"availability", sla.availability ? percent(*sla.availability) : "not known yet"}};
  if (sla.objective > 0) {
    lines.push_back({"objective", percent(sla.objective) + (sla.kept() ? "" : ", BROKEN")});
    const auto left = static_cast<double>(sla.budget_left.count());
    lines.push_back({"error budget left",
                     sla.kept() ? duration_text(left) : "overdrawn by " + duration_text(-left)});
  }
  lines.push_back({"served, protected", span_or_none(month.protected_us())});
  lines.push_back({"served, unprotected", span_or_none(month.unprotected_us())});
  lines.push_back(
      {"down", fmt::format("{} in {} outages, the longest {}", span_or_none(month.down_us()),
                           month.outages(), span_or_none(month.longest_outage_us()))});
  lines.push_back({"stopped by the operator", span_or_none(month.stopped_us())});
  lines.push_back({"failovers", fmt::format("{}", month.failovers())});
  return lines;
}

std::string until(const Sla& sla) {
  return time_text(unix_us(sla.accounted));
}

/// 202611 of "2026-11"; 0 of anything else.
std::uint32_t parse_month(const std::string& text) {
  unsigned year{};
  unsigned month{};
  int end{};
  // NOLINTNEXTLINE(cert-err34-c): widths and `end` hold it to exactly YYYY-MM
  const int read = std::sscanf(text.c_str(), "%4u-%2u%n", &year, &month, &end);
  const bool good = read == 2 && end == 7 && text.size() == 7 && month >= 1 && month <= 12;
  return good ? year * 100 + month : 0;
}

}  // namespace

Result<Sla> sla_of(const control::Guest& guest, const std::string& month, UnixTime at) {
  const auto number = month.empty() ? month_number(at) : parse_month(month);
  if (number == 0) return fail(ErrorKind::invalid, "\"{}\" is no month; write 2026-11", month);
  const auto* known = find_month(guest.availability(), number);
  if (known == nullptr) {
    return fail(ErrorKind::invalid, "nothing is known of guest {} in {}", guest.name(),
                month_text(number));
  }
  const auto objective = guest.availability_objective();
  return Sla{guest.name(),
             *known,
             availability(*known),
             objective,
             objective > 0 ? error_budget_left(*known, objective) : microseconds{0},
             UnixTime{microseconds{guest.availability().accounted_unix_us()}}};
}

std::string sla_view(const Sla& sla, const Paint& paint) {
  auto text = fmt::format("guest {}, {} (UTC), until {}\n", paint(sla.guest, Colour::bold),
                          month_text(sla.month.month()), until(sla));
  for (const auto& [name, value] : lines_of(sla)) {
    const bool broken = name == "objective" && !sla.kept();
    text += fmt::format("  {:<24} {}\n", name, broken ? paint(value, Colour::red) : value);
  }
  return text;
}

std::string sla_json(const Sla& sla) {
  const auto& month = sla.month;
  boost::json::object json{{"guest", sla.guest},
                           {"month", month_text(month.month())},
                           {"accounted_unix_us", sla.accounted.time_since_epoch().count()},
                           {"protected_us", month.protected_us()},
                           {"unprotected_us", month.unprotected_us()},
                           {"down_us", month.down_us()},
                           {"stopped_us", month.stopped_us()},
                           {"outages", month.outages()},
                           {"longest_outage_us", month.longest_outage_us()},
                           {"failovers", month.failovers()}};
  if (sla.availability) json["availability"] = *sla.availability;
  if (sla.objective > 0) {
    json["objective"] = sla.objective;
    json["error_budget_left_us"] = sla.budget_left.count();
  }
  return boost::json::serialize(json) + "\n";
}

std::string sla_page(const Sla& sla) {
  std::string rows;
  for (const auto& [name, value] : lines_of(sla)) {
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", html_text(name),
                        html_text(value));
  }
  const auto title = html_text(fmt::format("{}, {}", sla.guest, month_text(sla.month.month())));
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n<title>{0}</title>\n"
      "<style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui, sans-serif; "
      "max-width: 45rem; margin: 2rem auto; padding: 0 1rem }} table {{ border-collapse: collapse; "
      "width: 100% }} th, td {{ text-align: left; padding: .4rem; border-bottom: 1px solid #8886 "
      "}}</style></head>\n<body>\n<h1>{0}</h1>\n<p>What this guest's clients had, until {1}.</p>\n"
      "<table>\n{2}</table>\n</body>\n</html>\n",
      title, until(sla), rows);
}

}  // namespace understudy::failover::console
