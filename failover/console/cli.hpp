// The command `understudy`.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "failover/console/text.hpp"

namespace understudy::failover::console {

inline constexpr auto default_socket = "/run/understudy/control.sock";

enum ExitCode : int {
  exit_done = 0,
  exit_refused = 1,      ///< the daemon refused, or what was asked is not so; stderr says why
  exit_usage = 2,        ///< the command line makes no sense
  exit_unreachable = 3,  ///< no daemon, or one that failed to answer
};

struct Terminal {
  enum class Kind : std::uint8_t { none, terminal };
  Kind out{Kind::none};
  Kind err{Kind::none};
  Paint::Mode colour{Paint::Mode::plain};
  std::function<std::string()> ask{};  ///< reads a line of the operator; none where nobody is there
};

/// `arguments` without the program's name. Blocks until done; `status --watch` until a signal ends
/// the process.
[[nodiscard]] int run(std::vector<std::string> arguments, std::ostream& out, std::ostream& err,
                      const Terminal& terminal);

}  // namespace understudy::failover::console
