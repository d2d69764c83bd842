#include "failover/clone_network.hpp"

#include "checkpointer/clone.hpp"
#include "netbuffer/isolated_network.hpp"

namespace understudy::failover {

Result<std::string> enter_clone_network(const config::Guest& guest, const config::Drill& plan) {
  UNDERSTUDY_CHECK(netbuffer::enter_isolated_network());
  const auto bridges = checkpointer::Clone::bridges(guest);
  for (const auto& bridge : bridges) UNDERSTUDY_CHECK(netbuffer::add_bridge(bridge));
  if (plan.address().empty() || bridges.empty()) return std::string{};
  UNDERSTUDY_TRY(const auto address, netbuffer::parse_network_address(plan.address()));
  auto from = netbuffer::neighbour_of(address);
  if (!plan.from().empty()) {
    const auto text = fmt::format("{}/{}", plan.from(), address.prefix);
    UNDERSTUDY_TRY(from, netbuffer::parse_network_address(text));
  }
  UNDERSTUDY_CHECK(netbuffer::add_address(bridges.front(), from));
  return address.text();
}

}  // namespace understudy::failover
