// `understudy sla`: what a guest's clients had of a month. Pure.
#pragma once

#include <optional>
#include <string>

#include "config/result.hpp"
#include "failover/console/text.hpp"
#include "failover/monitoring/availability.hpp"

namespace understudy::failover::console {

struct Sla {
  std::string guest;
  control::MonthAccount month;
  std::optional<double> availability;  ///< 0 to 1
  double objective{};                  ///< 0: none is promised
  microseconds budget_left{};          ///< of the objective
  UnixTime accounted;                  ///< until then

  [[nodiscard]] bool kept() const { return budget_left >= microseconds{0}; }
};

/// `month`: "2026-11", or empty for the one of `at`. `invalid` when nothing is known of it.
[[nodiscard]] Result<Sla> sla_of(const control::Guest& guest, const std::string& month,
                                 UnixTime at);

[[nodiscard]] std::string sla_view(const Sla& sla, const Paint& paint);
[[nodiscard]] std::string sla_json(const Sla& sla);
/// A page of its own, to be kept or sent.
[[nodiscard]] std::string sla_page(const Sla& sla);

}  // namespace understudy::failover::console
