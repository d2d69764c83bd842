// One real drill under way: does what RealDrill says, and writes the report. Runs on the
// io_context's thread; the probes have one of their own.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "config/config.pb.h"
#include "failover/control.pb.h"
#include "failover/guest_host.hpp"
#include "failover/peer.pb.h"
#include "failover/real_drill.hpp"

namespace understudy::failover {

/// Of one that has been looked at from here: guest.report(), and what its active host last said.
[[nodiscard]] RealDrill::Seen seen_by(const GuestHost& guest, const control::Guest* heard);
/// Before the question whether to do it.
[[nodiscard]] std::string stakes_text(const RealDrill::Parties& parties,
                                      const std::string& probes_skipped);
/// Why the guest cannot be asked anything from this host; empty: it can. Leaves the probes in
/// `plan` that can be made: to a guest on a network with others, a ping proves nothing (an address
/// resolved earlier would answer for it).
[[nodiscard]] std::string why_skipped(config::Drill& plan);

class RealDrillRun {
 public:
  struct World {
    boost::asio::io_context& io;
    GuestHost& guest;
    std::function<const control::Guest*()> heard;  ///< of the guest, from its active host
    std::function<void()> ask_back;                ///< its active host, for a switchover to here
    std::function<void(const std::string& step, double fraction)> progress;
  };

  /// `plan` as why_skipped() has left it, `report` with its say.
  RealDrillRun(World world, RealDrill::Parties parties, config::Drill plan,
               control::DrillReport report);
  ~RealDrillRun();
  RealDrillRun(const RealDrillRun&) = delete;
  RealDrillRun& operator=(const RealDrillRun&) = delete;

  /// Often. The report: it has ended.
  [[nodiscard]] std::optional<control::DrillReport> tick();
  void answered(const peer::SwitchOverAnswer& answer);
  /// As its active host says; nullopt: nothing is known.
  [[nodiscard]] std::optional<control::Guest> guest_now() const;
  /// As it stands, if it is cut short now.
  [[nodiscard]] control::DrillReport give_up(const std::string& why);

 private:
  struct Probed {
    std::vector<control::ProbeReport> reports;
    Result<> outcome;
    std::uint64_t first_passed_us{};  ///< since the drill began; 0: none did
  };
  void perform(RealDrill::Do what);
  void begin_probes();
  void probed(Probed probed);
  void begin_move(RealDrill::Do what);
  void moved(const std::string& to, const Result<>& outcome, std::uint64_t stood_still_us);
  void end_step();
  void recovered(std::uint64_t at_us);
  [[nodiscard]] RealDrill::Seen seen() const;
  [[nodiscard]] control::DrillReport finished();
  [[nodiscard]] std::uint64_t since_begin() const;

  const World world_;
  const RealDrill::Parties parties_;
  const config::Drill plan_;
  RealDrill drill_;
  control::DrillReport report_;
  const TimePoint begun_;
  std::string target_;          ///< of the newest move; empty: none yet
  std::uint64_t ordered_us_{};  ///< the first move
  std::uint64_t asked_term_{};
  std::string step_;
  std::uint64_t step_begun_us_{};
  std::atomic<bool> goes_on_{true};
  std::shared_ptr<bool> alive_{std::make_shared<bool>(true)};  ///< what comes later looks at it
  std::thread probes_;
};

}  // namespace understudy::failover
