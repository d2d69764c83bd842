// Runs a fence agent: a program that switches a host off, as Pacemaker's fenced would run it. It
// gets `name=value` lines on its stdin and answers with its exit status (the FenceAgentAPI of
// https://github.com/ClusterLabs/fence-agents): 0 done; of `action=status` 0 on, 2 off.
//
// Each run has a thread of its own. No shell is involved; passwords stay between the configuration
// and the agent's stdin, and are cut out of what it says.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "config/config.pb.h"
#include "config/result.hpp"

namespace understudy::failover {

class FenceAgent {
 public:
  /// `host` is whom it switches off.
  FenceAgent(std::string host, config::Fencing settings);
  ~FenceAgent();
  FenceAgent(const FenceAgent&) = delete;
  FenceAgent& operator=(const FenceAgent&) = delete;

  /// Switches the host off: done when the agent, and for action "off" its `status`, says so. Ends
  /// the run before, if there still is one. `done` comes on the run's thread, also after an end,
  /// but never from inside this call.
  void start(std::function<void(Result<>)> done);
  /// Kills the agent and waits for the run's end.
  void end();

 private:
  [[nodiscard]] Result<> kill_host();
  [[nodiscard]] Result<int> run(const std::string& action);
  [[nodiscard]] std::string input(const std::string& action) const;
  [[nodiscard]] std::string without_secrets(std::string text) const;

  const std::string host_;
  const config::Fencing settings_;
  std::atomic<bool> ended_{};
  std::thread thread_;
};

}  // namespace understudy::failover
