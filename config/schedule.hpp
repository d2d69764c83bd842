// Moments that come again, in the local time of this process (TZ, /etc/localtime). A small part of
// systemd.time(7):
//
//   [WEEKDAYS] [*-MONTHS-DAYS] HOURS:MINUTES     Sun 03:00    Mon,Wed..Fri 02:30    *-*-01 04:00
//
// Months, days, hours and minutes are `*`, or numbers, ranges and steps in a list: 1,3..5,0/15. A
// day must match all that is given. A moment that the clocks skip in spring comes as much later as
// they skip; one that comes twice in autumn is meant the first time.
#pragma once

#include <bitset>
#include <ctime>
#include <optional>
#include <string_view>

#include "config/result.hpp"

namespace understudy {

class Schedule {
 public:
  /// `invalid` tells what is not understood, and for days that no year has.
  [[nodiscard]] static Result<Schedule> parse(std::string_view text);

  /// The first moment after `after`, in seconds since 1970.
  [[nodiscard]] std::time_t next(std::time_t after) const;

 private:
  Schedule() = default;
  [[nodiscard]] bool has_day(const std::tm& day) const;
  /// The first on this day that is later than `after`.
  [[nodiscard]] std::optional<std::time_t> on(const std::tm& day, std::time_t after) const;
  [[nodiscard]] bool possible() const;

  std::bitset<7> weekdays_;  ///< from Sunday
  std::bitset<13> months_;
  std::bitset<32> days_;
  std::bitset<24> hours_;
  std::bitset<60> minutes_;
};

}  // namespace understudy
