// One request to a daemon, and its reply. Blocking; any thread.
#pragma once

#include <functional>
#include <string>

#include "config/result.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

class ControlClient {
 public:
  using OnProgress = std::function<void(const control::Progress&)>;

  /// The final reply: what the daemon refuses is a Reply{error}, not an Error. Errors are
  /// `unavailable` when no daemon is there, and `timed_out` (silent for limits::control_reply),
  /// `closed` or `protocol` when one is, but failed us.
  [[nodiscard]] static Result<control::Reply> call(const std::string& path,
                                                   const control::Request& request,
                                                   const OnProgress& on_progress);
};

}  // namespace understudy::failover
