// What a guest's clients had, month by month: the account behind `understudy sla`. Pure; clocks are
// parameters.
//
// The active host watches its guest and keeps the account; it tells the others once a second, and
// they take it over as it is. A host that becomes active goes on with what it heard: the time since
// then was an outage, but for what the last checkpoint proves. Time for which nobody kept account,
// because all hosts were down, was an outage too, unless the operator had stopped the guest.
#pragma once

#include <cstdint>
#include <optional>

#include "config/clock.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

/// What clients have of a guest now.
enum class Service : std::uint8_t { is_protected, is_unprotected, is_booting, is_down, is_stopped };

/// Of a report of the guest by its active host. A guest whose output is held for too long is down.
[[nodiscard]] Service service_of(const control::Guest& report);

class AvailabilityAccount {
 public:
  explicit AvailabilityAccount(control::Availability known = {}) : known_{std::move(known)} {}

  struct Moment {
    UnixTime wall;
    TimePoint steady;
  };

  /// We are active, or nobody is: the time since the last call counts as what it was then, the
  /// first since another host kept the account as an outage. Often.
  void observe(Service service, const Moment& at);

  /// Another host keeps the account.
  void take_over(const control::Availability& heard);

  /// Another host keeps the account, and a checkpoint proves that the guest ran then.
  void proven(UnixTime at);

  /// The guest was resumed here. Counted once, by its time, if its host was lost.
  enum class Cause : std::uint8_t { host_lost, planned };
  void moved_here(UnixTime running, Cause cause);

  [[nodiscard]] const control::Availability& known() const { return known_; }

 private:
  void credit(UnixTime from, UnixTime to, Service service);
  [[nodiscard]] control::MonthAccount& month_of(UnixTime at);
  [[nodiscard]] UnixTime accounted() const;

  control::Availability known_;
  struct Watched {
    Service service;
    TimePoint since;
  };
  std::optional<Watched> watched_;  ///< while we keep the account
};

// --- what is said of a month

/// 202611, by UTC.
[[nodiscard]] std::uint32_t month_number(UnixTime at);
/// Of a month, nullptr: nothing is known of it.
[[nodiscard]] const control::MonthAccount* find_month(const control::Availability& known,
                                                      std::uint32_t month);
/// Served time / (served time + outages); nullopt when neither was.
[[nodiscard]] std::optional<double> availability(const control::MonthAccount& month);
/// What outages may still take of the month without breaking the objective (0 to 1); negative: it
/// is broken.
[[nodiscard]] microseconds error_budget_left(const control::MonthAccount& month, double objective);

}  // namespace understudy::failover
