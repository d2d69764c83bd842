// What a drill asks its clone. Sockets and children of the calling thread, in its network
// namespace.
#pragma once

#include <functional>
#include <string>

#include "config/config.pb.h"
#include "config/result.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

struct ProbeTarget {
  std::string guest;
  std::string address;  ///< IPv4
  std::uint64_t epoch;
};

/// False: give up, whatever is under way.
using GoesOn = std::function<bool()>;

/// Tries again until it passes or its time is over. `probe` is one of a checked config::Drill.
[[nodiscard]] control::ProbeReport run_probe(const config::Probe& probe, const ProbeTarget& target,
                                             const GoesOn& goes_on);

/// Whether the calling thread's network leads there at all.
[[nodiscard]] Result<> check_route(const std::string& address);

/// "tcp 5432", for one without a name.
[[nodiscard]] std::string probe_name(const config::Probe& probe);

/// Of the text of others: what a report can hold, limits::probe_text_bytes of it.
[[nodiscard]] std::string bounded_text(std::string text);

}  // namespace understudy::failover
