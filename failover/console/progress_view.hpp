// How a long command shows that it gets on: one line drawn over itself on a terminal, a line per
// tenth elsewhere. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "failover/control.pb.h"

namespace understudy::failover::console {

class ProgressView {
 public:
  enum class Mode : std::uint8_t { lines, bar };
  explicit ProgressView(Mode mode) : mode_{mode} {}

  /// What to print now; often nothing.
  [[nodiscard]] std::string advance(const control::Progress& progress);
  /// What to print before anything else is: takes the bar away.
  [[nodiscard]] std::string end();

 private:
  [[nodiscard]] std::string line(const control::Progress& progress);

  Mode mode_;
  bool drawn_{};
  std::string step_;
  int tenth_{-1};
};

}  // namespace understudy::failover::console
