#include "failover/membership.hpp"

#include <algorithm>

namespace understudy::failover {

bool View::has(NodeId node) const {
  return std::binary_search(members.begin(), members.end(), node);
}

std::string to_string(const RingId& ring) {
  return fmt::format("{:x}.{:x}", ring.representative.value(), ring.sequence);
}

}  // namespace understudy::failover
