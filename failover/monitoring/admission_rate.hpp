// How many clients are let in: a TLS handshake is work for the thread that also decides who runs a
// guest, and whoever reaches the address can ask for one. Pure.
#pragma once

#include <cstddef>

#include "config/clock.hpp"

namespace understudy::failover {

class AdmissionRate {
 public:
  explicit AdmissionRate(std::size_t per_second) : per_second_{per_second} {}

  /// Whether one more may come in; those that may not are cut.
  [[nodiscard]] bool admit(TimePoint at) {
    if (at - second_ >= std::chrono::seconds{1}) {
      second_ = at;
      admitted_ = 0;
    }
    return ++admitted_ <= per_second_;
  }

 private:
  const std::size_t per_second_;
  TimePoint second_{};
  std::size_t admitted_{};
};

}  // namespace understudy::failover
