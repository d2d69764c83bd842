// One attempt to tell a hook of an event: a program, or a POST with Boost.Beast. Blocks, on a
// thread that may: for hook.timeout_s at most, and until `ended` says so.
#pragma once

#include <functional>

#include "config/config.pb.h"
#include "config/result.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

[[nodiscard]] Result<> attempt_hook(const config::Hook& hook, const control::Event& event,
                                    const std::function<bool()>& ended);

/// "webhook http://..." or "exec /usr/bin/...", for the log.
[[nodiscard]] std::string hook_name(const config::Hook& hook);

}  // namespace understudy::failover
