// What becomes of the lost one of two hosts: joins the machine that decides (fencing.hpp) to the
// agent that acts, and takes the operator's word that it is dead. Runs on the io_context's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "config/settings.hpp"
#include "failover/control.pb.h"
#include "failover/fence_agent.hpp"
#include "failover/fencing.hpp"
#include "failover/record.hpp"

namespace understudy::failover {

class Fencer {
 public:
  using Send = std::function<void(const RecordBook::Messages&)>;
  /// All must outlive it. `send` stores what the book holds, then sends.
  Fencer(boost::asio::io_context& io, const Settings& settings, RecordBook& book, Send send);

  /// Looks at everything anew: after each event, and each tick.
  void decide();
  /// Ends an agent at work.
  void stop();

  /// What is at stake if an operator confirms that the host is dead; an error: why nobody need or
  /// may.
  [[nodiscard]] Result<std::string> stakes(const std::string& host) const;
  /// The operator has confirmed it: what was done.
  [[nodiscard]] Result<std::string> confirm(const std::string& host);

  void report(control::Status& status) const;

 private:
  void attempt(Fencing::Attempt attempt);
  [[nodiscard]] const config::Host& other() const;
  [[nodiscard]] std::string known_guests() const;
  void warn_of_absence(control::Status& status) const;

  boost::asio::io_context& io_;
  const Settings& settings_;
  RecordBook& book_;
  const Send send_;
  std::optional<Fencing> fencing_;
  std::unique_ptr<FenceAgent> agent_;
  std::optional<Fencing::Attempt> attempt_;  ///< the agent is at work
};

}  // namespace understudy::failover
