#include "failover/real_drill_run.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <boost/asio/post.hpp>

#include "config/priority.hpp"
#include "failover/drill_probes.hpp"
#include "netbuffer/isolated_network.hpp"

namespace understudy::failover {
namespace {

std::string guest_address(const config::Drill& plan) {
  const auto& text = plan.address();
  return text.substr(0, text.find('/'));
}

}  // namespace

RealDrill::Seen seen_by(const GuestHost& guest, const control::Guest* heard) {
  const auto outline = guest.outline();
  RealDrill::Seen seen{
      .agreed = guest.agreed(), .active = outline.active_host(), .backup = outline.backup_host()};
  const bool here = guest.runs_here();
  // Here it may be one that is being made; elsewhere only the record is known.
  if (here ? outline.state() != control::PROTECTED : seen.backup == seen.active)
    seen.backup.clear();
  if (!seen.backup.empty()) return seen;
  const auto mine = here ? guest.report() : control::Guest{};
  const auto* active = here ? &mine : heard;
  if (active == nullptr || active->active_host() != seen.active) return seen;
  if (active->state() == control::SYNCHRONISING) seen.copied = active->sync_fraction();
  for (const auto& candidate : active->candidate()) {
    if (seen.obstacle.empty()) seen.obstacle = candidate.obstacle();
  }
  return seen;
}

std::string stakes_text(const RealDrill::Parties& parties, const std::string& probes_skipped) {
  return fmt::format(
      "Guest {0} itself moves from host {1} to host {2} and back. Its clients see it stand still "
      "twice, for about as long as at a switchover. After each move it runs without a backup until "
      "its memory is copied whole: should its host die just then, it is lost.\n{3}",
      parties.guest, parties.home, parties.away,
      probes_skipped.empty()
          ? ""
          : "It will not be asked whether it is well: " + probes_skipped + ".\n");
}

std::string why_skipped(config::Drill& plan) {
  const auto address = guest_address(plan);
  auto& probes = *plan.mutable_probe();
  probes.erase(std::remove_if(probes.begin(), probes.end(),
                              [](const auto& probe) { return probe.has_ping(); }),
               probes.end());
  if (probes.empty()) return "no probe but a ping is configured";
  if (address.empty()) return "its address is not in this host's configuration of the guest";
  const auto route = check_route(address);
  return route ? std::string{} : route.error().message;
}

RealDrillRun::RealDrillRun(World world, RealDrill::Parties parties, config::Drill plan,
                           control::DrillReport report)
    : world_{std::move(world)},
      parties_{std::move(parties)},
      plan_{std::move(plan)},
      drill_{parties_, report.probes_skipped().empty() ? RealDrill::Probes::asked
                                                       : RealDrill::Probes::skipped},
      report_{std::move(report)},
      begun_{now()} {}

RealDrillRun::~RealDrillRun() {
  goes_on_ = false;
  if (probes_.joinable()) probes_.join();
}

std::uint64_t RealDrillRun::since_begin() const {
  return static_cast<std::uint64_t>(in_microseconds(now() - begun_).count());
}

RealDrill::Seen RealDrillRun::seen() const {
  return seen_by(world_.guest, world_.heard());
}

std::optional<control::DrillReport> RealDrillRun::tick() {
  const auto seen = this->seen();
  const auto what = drill_.look(seen, now());
  if (what == RealDrill::Do::end) return finished();
  if (step_ != drill_.step()) {
    end_step();
    step_ = drill_.step();
    step_begun_us_ = since_begin();
  }
  world_.progress(step_, seen.copied);
  perform(what);
  return std::nullopt;
}

std::optional<control::Guest> RealDrillRun::guest_now() const {
  if (world_.guest.runs_here()) return world_.guest.report();
  const auto* heard = world_.heard();
  if (heard == nullptr || heard->active_host() != world_.guest.outline().active_host())
    return std::nullopt;
  return *heard;
}

void RealDrillRun::end_step() {
  if (step_.empty()) return;
  auto& step = *report_.add_step();
  step.set_name(step_);
  step.set_begin_us(step_begun_us_);
  step.set_took_us(since_begin() - step_begun_us_);
  step_.clear();
}

control::DrillReport RealDrillRun::finished() {
  end_step();
  const auto outcome = drill_.outcome(seen());
  report_.set_passed(outcome.has_value());
  report_.set_failure(outcome ? std::string{} : bounded_text(outcome.error().message));
  report_.set_finished_unix_us(report_.started_unix_us() + since_begin());
  return report_;
}

control::DrillReport RealDrillRun::give_up(const std::string& why) {
  drill_.give_up(why);
  return finished();
}

void RealDrillRun::perform(RealDrill::Do what) {
  switch (what) {
    case RealDrill::Do::probe: return begin_probes();
    case RealDrill::Do::move_away:
    case RealDrill::Do::move_home: return begin_move(what);
    case RealDrill::Do::nothing:
    case RealDrill::Do::end: return;
  }
}

// --- the guest is asked

void RealDrillRun::begin_probes() {
  if (probes_.joinable()) probes_.join();
  const ProbeTarget target{parties_.guest, guest_address(plan_), report_.epoch()};
  probes_ = std::thread{[this, target] {
    leave_real_time();  // inherited, and not for this
    Probed all;
    const GoesOn goes_on = [this] { return goes_on_.load(); };
    for (const auto& probe : plan_.probe()) {
      if (!goes_on()) break;
      auto one = run_probe(probe, target, goes_on);
      if (one.passed() && all.first_passed_us == 0) all.first_passed_us = since_begin();
      if (!one.passed() && all.outcome)
        all.outcome = fail(ErrorKind::unavailable, "probe {}: {}", one.name(), one.said());
      all.reports.push_back(std::move(one));
    }
    boost::asio::post(world_.io,
                      [this, alive = std::weak_ptr{alive_}, all = std::move(all)]() mutable {
                        if (!alive.expired()) probed(std::move(all));
                      });
  }};
}

void RealDrillRun::probed(Probed probed) {
  const auto when = target_.empty() ? "before" : "on " + target_;
  for (auto& one : probed.reports) {
    one.set_name(fmt::format("{}, {}", one.name(), when));
    *report_.add_probe() = std::move(one);
  }
  if (target_ == parties_.away && probed.first_passed_us != 0) recovered(probed.first_passed_us);
  drill_.probed(probed.outcome);
}

void RealDrillRun::recovered(std::uint64_t at_us) {
  if (report_.recovery_us() == 0) report_.set_recovery_us(at_us - ordered_us_);
}

// --- the guest moves

void RealDrillRun::begin_move(RealDrill::Do what) {
  target_ = what == RealDrill::Do::move_home ? parties_.home : parties_.away;
  if (target_ == parties_.home) {
    asked_term_ = world_.guest.outline().term();
    return world_.ask_back();
  }
  ordered_us_ = since_begin();
  control::Request order;
  order.mutable_switch_over()->set_guest(parties_.guest);
  world_.guest.switch_over(make_order(
      std::move(order), [this, alive = std::weak_ptr{alive_}](const control::Reply& reply) {
        if (alive.expired()) return;
        moved(parties_.away,
              reply.has_error() ? fail(ErrorKind::unavailable, "{}", reply.error().message())
                                : Result<>{},
              reply.done().stood_still_us());
      }));
}

void RealDrillRun::answered(const peer::SwitchOverAnswer& answer) {
  if (answer.guest() != parties_.guest || answer.term() != asked_term_) return;
  moved(parties_.home,
        answer.error().empty() ? Result<>{} : fail(ErrorKind::unavailable, "{}", answer.error()),
        answer.stood_still_us());
}

void RealDrillRun::moved(const std::string& to, const Result<>& outcome,
                         std::uint64_t stood_still_us) {
  if (to != target_) return;  // too late
  if (outcome) {
    auto& move = *report_.add_move();
    move.set_from(to == parties_.home ? parties_.away : parties_.home);
    move.set_to(to);
    move.set_stood_still_us(stood_still_us);
    if (!report_.probes_skipped().empty()) recovered(since_begin());
  }
  drill_.moved(outcome);
}

}  // namespace understudy::failover
