// `understudy link test`: measures each link to another host, on a thread of its own.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "config/settings.hpp"
#include "failover/control_server.hpp"
#include "replication/connection.hpp"

namespace understudy::failover {

class LinkTests {
 public:
  using Transports = std::vector<std::shared_ptr<replication::Transport>>;

  /// The first transport is the one that is configured. All outlive this.
  LinkTests(boost::asio::io_context& io, const Settings& settings, const Transports& transports)
      : io_{io}, settings_{settings}, transports_{transports} {}
  ~LinkTests() { stop(); }
  LinkTests(const LinkTests&) = delete;
  LinkTests& operator=(const LinkTests&) = delete;

  /// One at a time. On `io`'s thread.
  void begin(const std::shared_ptr<ControlCall>& call);
  /// Ends one that runs. Idempotent.
  void stop();

 private:
  boost::asio::io_context& io_;
  const Settings& settings_;
  const Transports& transports_;
  std::thread thread_;
  bool busy_{};
  std::atomic<bool> stopping_{};
};

}  // namespace understudy::failover
