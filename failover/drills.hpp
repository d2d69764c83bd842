// The drills of a host: takes the commands, watches over the one that runs, keeps the evidence.
// Runs on the io_context's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "config/settings.hpp"
#include "failover/control_server.hpp"
#include "failover/drill_calendar.hpp"
#include "failover/drill_evidence.hpp"
#include "failover/drill_runner.hpp"
#include "failover/guest_host.hpp"
#include "failover/real_drill_run.hpp"

namespace understudy::failover {

/// Why work beside a guest's replica must end, by what the active host said of the guest: it is
/// throttled, or its commits take longer (p50). nullopt: it may go on.
[[nodiscard]] std::optional<std::string> why_too_much(const control::Guest& seen,
                                                      std::uint32_t max_commit_ms);

/// The guest's own plan, or that of one that has none.
[[nodiscard]] config::Drill drill_of(const Settings& settings, const std::string& guest);

class Drills {
 public:
  /// What the active host last said of a guest; nullptr: nothing.
  using Seen = std::function<const control::Guest*(const std::string& guest)>;

  using Finished = std::function<void(const control::DrillReport&)>;

  /// Asks a guest's active host to switch it over to this one.
  using Ask = std::function<void(const std::string& guest)>;

  Drills(boost::asio::io_context& io, const Settings& settings, Seen seen, Ask ask,
         Finished finished);

  void begin(const std::shared_ptr<ControlCall>& call, GuestHost& guest);
  /// What the calendar wants now: `begin_scheduled` for each of them.
  [[nodiscard]] std::vector<DrillCalendar::Drill> due();
  void begin_scheduled(GuestHost& guest, const DrillCalendar::Drill& drill);
  /// To what was asked of a guest's active host.
  void answered(const peer::SwitchOverAnswer& answer);
  /// Those of this host, and what the calendar wants next.
  [[nodiscard]] control::DrillList list() const;
  /// The page with a drill's evidence; nullopt: there is none of that id here.
  [[nodiscard]] std::optional<std::string> page(std::string_view id) const;
  /// Often: stops a drill that slows the real guest.
  void tick();
  /// nullopt: none is known here.
  [[nodiscard]] std::optional<control::DrillSummary> last(const std::string& guest) const;
  /// Ends the one that runs; of a real one the evidence is kept. Idempotent.
  void stop();

 private:
  class Scheduled;
  [[nodiscard]] static bool is_scheduled(const ControlCall& call);
  [[nodiscard]] Result<config::Drill> plan_for(const control::DrillRequest& request) const;
  [[nodiscard]] control::DrillReport begin_report(const std::string& guest) const;
  void start(const std::shared_ptr<ControlCall>& call, DrillOrder order);
  void begin_real(const std::shared_ptr<ControlCall>& call, GuestHost& guest);
  void tick_real();
  void start_real(GuestHost& guest, RealDrill::Parties parties, config::Drill plan,
                  control::DrillReport report);
  void finish(control::DrillReport report);

  boost::asio::io_context& io_;
  const Settings& settings_;
  const Seen seen_;
  const Ask ask_;
  const Finished finished_;
  DrillBook book_;
  DrillCalendar calendar_;
  bool busy_{};
  bool stopped_{};
  std::string guest_;  ///< of the drill that runs
  std::uint32_t max_commit_ms_{};
  control::DrillImpact before_;
  control::DrillImpact worst_;
  TimePoint compared_;  ///< a real drill's
  std::shared_ptr<ControlCall> call_;
  std::unique_ptr<DrillRunner> runner_;
  std::unique_ptr<RealDrillRun> real_;
};

}  // namespace understudy::failover
