// The rewind of a guest: its replica here takes over as by a switchover, at an earlier epoch.
//
//   begin ─► plan (a thread) ─► say what is at stake
//        ─► plan ─► ask the active host to hand over ─► promoted ─► recorded ─► answer
//
// Who ends the command ends the rewind, until its first change: the guest stays where and as it is,
// or, handed over already, goes on here at its newest epoch. One at a time. Runs on the
// io_context's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>

#include "config/settings.hpp"
#include "failover/control_server.hpp"
#include "failover/guest_host.hpp"
#include "failover/peer.pb.h"

namespace understudy::failover {

class Rewinds {
 public:
  /// `ask`: the guest's active host, for a switchover.
  Rewinds(boost::asio::io_context& io, const Settings& settings,
          std::function<void(const std::string& guest)> ask)
      : io_{io}, settings_{settings}, ask_{std::move(ask)} {}
  ~Rewinds();
  Rewinds(const Rewinds&) = delete;
  Rewinds& operator=(const Rewinds&) = delete;

  void begin(const std::shared_ptr<ControlCall>& call, GuestHost& guest);
  /// To whoever asked.
  void answered(const peer::SwitchOverAnswer& answer);
  void tick();
  /// Waits for a plan that is being made. Idempotent.
  void stop();

 private:
  struct One {
    std::shared_ptr<ControlCall> call;
    GuestHost* guest;
    std::string name;
    Term term{};  ///< of the record under which it was asked for
    TimePoint asked_at{};
    std::optional<checkpointer::GuestEngine::Promotion> promotion{};
    TimePoint promoted_at{};
    std::optional<std::uint64_t> stood_still_us{};
    std::stop_source stop{};
    bool let_go{};  ///< disarmed by its operator: only what becomes of the handing over is awaited
  };
  struct Told {
    checkpointer::RewindOrder order;  ///< pins what was told of
    TimePoint at;
  };
  void plan(checkpointer::CloneSource source);
  void planned(const Result<checkpointer::RewindPlan>& plan);
  void tell_stakes(const checkpointer::RewindPlan& plan);
  void order(const checkpointer::RewindPlan& plan);
  void abandon();
  void finish();
  void fail(const Error& why);

  boost::asio::io_context& io_;
  const Settings& settings_;
  const std::function<void(const std::string&)> ask_;
  std::optional<One> current_;
  std::map<std::string, Told> told_;  ///< by guest
  std::thread planner_;
  bool stopped_{};
};

}  // namespace understudy::failover
