#include "failover/monitoring/availability.hpp"

#include <algorithm>

#include "config/limits.hpp"

namespace understudy::failover {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::months;
using std::chrono::sys_days;
using std::chrono::year_month;
using std::chrono::year_month_day;

year_month month_at(UnixTime at) {
  const year_month_day day{floor<days>(at)};
  return day.year() / day.month();
}

UnixTime start_of(year_month month) {
  return sys_days{month / 1};
}

std::uint32_t number_of(year_month month) {
  return static_cast<std::uint32_t>(static_cast<int>(month.year())) * 100 +
         static_cast<unsigned>(month.month());
}

std::uint64_t count(microseconds time) {
  return static_cast<std::uint64_t>(std::max(time, microseconds{0}).count());
}

microseconds served(const control::MonthAccount& month) {
  return microseconds{month.protected_us() + month.unprotected_us()};
}

}  // namespace

Service service_of(const control::Guest& report) {
  switch (report.state()) {
    case control::PROTECTED:
      return microseconds{report.commit_age_us()} > limits::service_stall ? Service::is_down
                                                                          : Service::is_protected;
    case control::UNPROTECTED:
    case control::SYNCHRONISING: return Service::is_unprotected;
    case control::STARTING: return Service::is_booting;
    case control::STOPPED:
      return report.active_host().empty() ? Service::is_stopped : Service::is_down;
    default: return Service::is_down;
  }
}

UnixTime AvailabilityAccount::accounted() const {
  return UnixTime{microseconds{known_.accounted_unix_us()}};
}

void AvailabilityAccount::observe(Service service, const Moment& at) {
  // A guest that boots after it was stopped was not lost.
  const bool planned =
      service == Service::is_booting && (known_.stopped() || known_.accounted_unix_us() == 0);
  if (service == Service::is_booting) service = planned ? Service::is_stopped : Service::is_down;
  if (watched_) {
    const auto elapsed = in_microseconds(at.steady - watched_->since);
    credit(at.wall - elapsed, at.wall, watched_->service);
  } else if (known_.accounted_unix_us() != 0) {
    credit(accounted(), at.wall, known_.stopped() ? Service::is_stopped : Service::is_down);
  }
  known_.set_accounted_unix_us(count(at.wall.time_since_epoch()));
  known_.set_stopped(service == Service::is_stopped);
  watched_ = Watched{service, at.steady};
}

void AvailabilityAccount::take_over(const control::Availability& heard) {
  known_ = heard;
  const auto excess = known_.month_size() - static_cast<int>(limits::availability_months);
  if (excess > 0) known_.mutable_month()->DeleteSubrange(0, excess);
  watched_.reset();
}

void AvailabilityAccount::proven(UnixTime at) {
  watched_.reset();
  if (known_.accounted_unix_us() == 0 || known_.stopped() || at <= accounted()) return;
  credit(accounted(), at, Service::is_protected);
  known_.set_accounted_unix_us(count(at.time_since_epoch()));
}

void AvailabilityAccount::moved_here(UnixTime running, Cause cause) {
  const auto at = count(running.time_since_epoch());
  if (at <= known_.moved_unix_us()) return;
  known_.set_moved_unix_us(at);
  if (cause == Cause::planned) return;
  auto& month = month_of(running);
  month.set_failovers(month.failovers() + 1);
}

/// Piece by piece, where a month ends in between.
void AvailabilityAccount::credit(UnixTime from, UnixTime to, Service service) {
  while (from < to) {
    const auto end = std::min(to, start_of(month_at(from) + months{1}));
    auto& month = month_of(from);
    const auto time = count(end - from);
    switch (service) {
      case Service::is_protected: month.set_protected_us(month.protected_us() + time); break;
      case Service::is_unprotected: month.set_unprotected_us(month.unprotected_us() + time); break;
      case Service::is_stopped: month.set_stopped_us(month.stopped_us() + time); break;
      default:
        month.set_down_us(month.down_us() + time);
        if (known_.outage_us() == 0) month.set_outages(month.outages() + 1);
        known_.set_outage_us(known_.outage_us() + time);
        month.set_longest_outage_us(std::max(month.longest_outage_us(), known_.outage_us()));
    }
    if (service != Service::is_down) known_.set_outage_us(0);
    from = end;
  }
}

control::MonthAccount& AvailabilityAccount::month_of(UnixTime at) {
  const auto number = month_number(at);
  for (auto& month : *known_.mutable_month()) {
    if (month.month() == number) return month;
  }
  if (static_cast<std::size_t>(known_.month_size()) >= limits::availability_months) {
    known_.mutable_month()->DeleteSubrange(0, 1);
  }
  auto& month = *known_.add_month();
  month.set_month(number);
  return month;
}

std::uint32_t month_number(UnixTime at) {
  return number_of(month_at(at));
}

const control::MonthAccount* find_month(const control::Availability& known, std::uint32_t month) {
  const auto found = std::ranges::find_if(
      known.month(), [month](const auto& one) { return one.month() == month; });
  return found == known.month().end() ? nullptr : &*found;
}

std::optional<double> availability(const control::MonthAccount& month) {
  const auto up = static_cast<double>(served(month).count());
  const auto all = up + static_cast<double>(month.down_us());
  if (all == 0) return std::nullopt;
  return up / all;
}

microseconds error_budget_left(const control::MonthAccount& month, double objective) {
  const year_month which{std::chrono::year{static_cast<int>(month.month() / 100)},
                         std::chrono::month{month.month() % 100}};
  const auto length = in_microseconds(start_of(which + months{1}) - start_of(which));
  return microseconds{
             static_cast<std::int64_t>(static_cast<double>(length.count()) * (1 - objective))} -
         microseconds{month.down_us()};
}

}  // namespace understudy::failover
