// The past of the replicas here: what it is, and the clones that were made of it and stay until
// they are stopped. Runs on the io_context's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "config/settings.hpp"
#include "failover/clone_runner.hpp"
#include "failover/control_server.hpp"
#include "failover/guest_host.hpp"

namespace understudy::failover {

class Clones {
 public:
  Clones(boost::asio::io_context& io, const Settings& settings) : io_{io}, settings_{settings} {}

  void history(const std::shared_ptr<ControlCall>& call, GuestHost& guest) const;
  void begin(const std::shared_ptr<ControlCall>& call, GuestHost& guest);
  void list(const std::shared_ptr<ControlCall>& call) const;
  void end(const std::shared_ptr<ControlCall>& call);
  /// Ends all of them. Idempotent.
  void stop();

 private:
  struct One {
    control::CloneInfo info;
    std::shared_ptr<ControlCall> call;    ///< who waits for it to run
    std::unique_ptr<CloneRunner> runner;  ///< null: it has ended, or not begun
  };
  [[nodiscard]] Result<CloneOrder> order_for(const control::CloneRequest& request) const;
  void start(const std::string& id, CloneOrder order);
  void ended(const std::string& id, const Error& why);

  boost::asio::io_context& io_;
  const Settings& settings_;
  std::map<std::string, One> clones_;  ///< by id; those that ended by themselves stay a while
  std::uint64_t next_{1};
  bool stopped_{};
};

/// What a request's moment means; nullopt: the newest commit.
[[nodiscard]] std::optional<checkpointer::HistoryWish> wish_of(const control::Moment& moment,
                                                               UnixTime now);

[[nodiscard]] control::HistoryPoint to_message(const checkpointer::HistoryPoint& point);
[[nodiscard]] control::Branch to_message(const checkpointer::Branch& branch);

}  // namespace understudy::failover
