// Orders over HTTP: a request of the control API as JSON, and its replies as lines of JSON.
#pragma once

#include <string>

#include "config/result.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

/// {"switch_over": {"guest": "pg"}} and the like; `invalid` for what is none, or may not be ordered
/// from a page. Pure.
[[nodiscard]] Result<control::Request> parse_order(const std::string& json);

/// For the log: "switch_over pg".
[[nodiscard]] std::string order_text(const control::Request& request);

}  // namespace understudy::failover
