// A host's status in the text format of Prometheus. Pure.
//
// Names and units follow Prometheus' conventions; every family's help says what it means. Of a
// guest, its active host tells everything, its backup the state, and every host who is active.
// https://prometheus.io/docs/practices/naming/
#pragma once

#include <string>

#include "failover/control.pb.h"
#include "failover/monitoring/availability.hpp"

namespace understudy::failover {

[[nodiscard]] std::string metrics_text(const control::Status& status, UnixTime at);

}  // namespace understudy::failover
