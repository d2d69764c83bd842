// The one clock of the project. Machines that decide take a TimePoint as a parameter; only shells
// call now().
#pragma once

#include <chrono>
#include <cstdint>

namespace understudy {

/// CLOCK_MONOTONIC: equal for all namespaces of one kernel, never set back.
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

[[nodiscard]] inline TimePoint now() {
  return Clock::now();
}

[[nodiscard]] constexpr microseconds in_microseconds(Duration duration) {
  return std::chrono::duration_cast<microseconds>(duration);
}

/// CLOCK_REALTIME: may jump. For what people read, and where no monotonic clock goes along.
using UnixTime = std::chrono::sys_time<microseconds>;

[[nodiscard]] inline UnixTime unix_now() {
  return std::chrono::time_point_cast<microseconds>(std::chrono::system_clock::now());
}

/// As messages and files have it; of no time before 1970.
[[nodiscard]] constexpr std::uint64_t unix_us(UnixTime time) {
  return static_cast<std::uint64_t>(time.time_since_epoch().count());
}

}  // namespace understudy
