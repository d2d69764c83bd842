// A handshake and records with the shape of the real ones, and no security: keys are equal to what
// was said, and a tag is a checksum under a key. Deterministic.
#pragma once

#include "replication/datagram_machine.hpp"

namespace understudy::sim {

/// `secret` is what both must know.
[[nodiscard]] replication::LinkSecurity toy_security(const std::string& secret);

}  // namespace understudy::sim
