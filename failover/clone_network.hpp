// The network of a clone: a namespace of its own with the bridges of the guest's host, by name, and
// nothing else on them.
#pragma once

#include <string>

#include "config/config.pb.h"
#include "config/result.hpp"

namespace understudy::failover {

/// The calling thread is in it from now on; the namespace ends with the last one in it. Where the
/// plan knows the guest's address, the first bridge has one beside it, for probes. The guest's
/// address as it is asked there; empty: not known, or the guest has no bridge.
[[nodiscard]] Result<std::string> enter_clone_network(const config::Guest& guest,
                                                      const config::Drill& plan);

}  // namespace understudy::failover
