// understudyd: the daemon of one host.
#include <cstdio>

#include <CLI/CLI.hpp>
#include <boost/asio/signal_set.hpp>

#include "config/dpdk_runtime.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"
#include "failover/node.hpp"
#include "failover/transports.hpp"
#include "failover/watchdog.hpp"
#include "hypervisor/host_check.hpp"

namespace {

using namespace understudy;

log::Level level_of(config::LogLevel level) {
  switch (level) {
    case config::DEBUG: return log::Level::debug;
    case config::WARNING: return log::Level::warning;
    case config::ERROR: return log::Level::error;
    default: return log::Level::info;
  }
}

Result<> run(const std::string& file) {
  UNDERSTUDY_TRY(auto settings, Settings::load(file));
  log::configure(level_of(settings.config().log_level()), settings.this_host().name());
  const bool keeps_guests = !settings.this_host().replication_address().empty();
  if (keeps_guests) UNDERSTUDY_CHECK(hypervisor::check_host());
  dpdk::configure({settings.config().dpdk().memory_mib()});
  // Inherited by every thread: checkpoints and the cluster go before other work on this host.
  if (!ask_for_real_time())
    log::warning("priority.refused", {log::kv("remedy", "give understudyd CAP_SYS_NICE")});

  boost::asio::io_context io{1};
  UNDERSTUDY_TRY(auto transports, failover::open_transports(settings));
  UNDERSTUDY_TRY(const auto node,
                 failover::Node::start(io, std::move(settings), std::move(transports)));
  std::unique_ptr<failover::Watchdog> watchdog;
  if (const auto& device = node->settings().config().watchdog_device(); !device.empty()) {
    UNDERSTUDY_TRY(watchdog, failover::Watchdog::start(
                                 io, device,
                                 static_cast<int>(node->settings().config().watchdog_timeout_s())));
  }
  boost::asio::signal_set signals{io, SIGTERM, SIGINT};
  signals.async_wait([&](const boost::system::error_code&, int signal) {
    log::info("daemon.stopping", {log::kv("signal", signal)});
    node->stop();
    if (watchdog) watchdog->disarm();
    io.stop();
  });
  log::info("daemon.started", {log::kv("version", UNDERSTUDY_VERSION), log::kv("config", file)});
  io.run();
  log::info("daemon.stopped");
  return {};
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): what is thrown at start-up may end the process
int main(int argc, char** argv) {
  CLI::App app{
      "Understudy's daemon: keeps guests alive through the death of their host. One per host, in "
      "the\n"
      "foreground; SIGTERM stops it, and its guests' backups take over."};
  std::string file = "/etc/understudy/understudy.conf";
  app.add_option("--config", file, "The host's configuration (Protocol Buffers text format)")
      ->capture_default_str();
  app.set_version_flag("--version", UNDERSTUDY_VERSION);
  CLI11_PARSE(app, argc, argv);
  GOOGLE_PROTOBUF_VERIFY_VERSION;
  if (const auto done = run(file); !done) {
    fmt::print(stderr, "understudyd: {}\n", done.error().message);
    return 1;
  }
  return 0;
}
