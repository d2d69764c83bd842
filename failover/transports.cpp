#include "failover/transports.hpp"

#include <algorithm>

#include "config/log.hpp"
#include "replication/datagram_host.hpp"
#include "replication/dpdk_port.hpp"

namespace understudy::failover {
namespace {

using Key = std::shared_ptr<const replication::Credentials>;

Result<Key> load_key(const config::Config& config) {
  if (config.has_security()) return replication::Credentials::load(config.security().psk_file());
  log::warning("links.clear",
               {log::kv("why", "anyone on the replication network can read and write guests"),
                log::kv("remedy", "security { psk_file } in the configuration of every host")});
  return nullptr;
}

Result<std::shared_ptr<replication::Transport>> open_dpdk(const Settings& settings,
                                                          const Key& key) {
  const auto& dpdk = settings.config().dpdk();
  replication::DpdkPortOptions options{.device = dpdk.replication_device(), .mtu = dpdk.mtu()};
  if (dpdk.polling() == config::POLL) options.idle = replication::DpdkIdle::poll;
  if (dpdk.has_core()) options.core = dpdk.core();
  auto port = replication::open_dpdk_port(options);
  if (!port) return fail(port.error().within("dpdk.replication_device"));
  return std::make_shared<replication::DatagramHost>(
      replication::DatagramHost::Plan{std::move(*port), "dpdk", settings.config().cluster(),
                                      settings.this_host().name(), replication::secured_by(key)});
}

}  // namespace

Result<std::vector<std::shared_ptr<replication::Transport>>> open_transports(
    const Settings& settings) {
  const auto& config = settings.config();
  std::vector<std::shared_ptr<replication::Transport>> transports;
  if (settings.this_host().replication_address().empty()) {  // a witness, which needs no key
    transports.push_back(replication::tcp_transport());
    return transports;
  }
  UNDERSTUDY_TRY(const auto key, load_key(config));
  transports.push_back(replication::tcp_transport(key));
  if (!config.dpdk().replication_device().empty()) {
    UNDERSTUDY_TRY(auto dpdk, open_dpdk(settings, key));
    transports.push_back(std::move(dpdk));
  }
  if (config.link() == config::Config::DPDK) std::ranges::reverse(transports);
  return transports;
}

}  // namespace understudy::failover
