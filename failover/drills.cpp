#include "failover/drills.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::failover {
namespace {

control::DrillImpact impact_of(const control::Guest& seen) {
  control::DrillImpact impact;
  impact.set_commit_latency_p50_us(seen.commit_latency_us().p50());
  impact.set_pause_p50_us(seen.pause_us().p50());
  impact.set_throttled(seen.throttled());
  return impact;
}

void worsen(control::DrillImpact& worst, const control::DrillImpact& more) {
  worst.set_commit_latency_p50_us(
      std::max(worst.commit_latency_p50_us(), more.commit_latency_p50_us()));
  worst.set_pause_p50_us(std::max(worst.pause_p50_us(), more.pause_p50_us()));
  worst.set_throttled(worst.throttled() || more.throttled());
}

}  // namespace

std::optional<std::string> why_too_much(const control::Guest& seen, std::uint32_t max_commit_ms) {
  if (seen.throttled()) return "the real guest was throttled meanwhile";
  const auto p50_ms = seen.commit_latency_us().p50() / 1000;
  if (p50_ms <= max_commit_ms) return std::nullopt;
  return fmt::format("the real guest's commits took {:.0f} ms (p50), more than {} ms", p50_ms,
                     max_commit_ms);
}

/// A drill for which nobody waits.
class Drills::Scheduled : public ControlCall {
 public:
  explicit Scheduled(const DrillCalendar::Drill& drill) {
    request_.mutable_drill()->set_guest(drill.guest);
    request_.mutable_drill()->set_real(drill.real);
    request_.mutable_drill()->set_sure(drill.real);
  }
  [[nodiscard]] const control::Request& request() const override { return request_; }
  void progress(const std::string& /*step*/, double /*fraction*/) override {}
  void finish(control::Reply reply) override {
    if (!reply.has_error()) return;
    log::warning("drill.not_run", {log::kv("guest", request_.drill().guest()),
                                   log::kv("why", reply.error().message())});
  }

 private:
  control::Request request_;
};

bool Drills::is_scheduled(const ControlCall& call) {
  return dynamic_cast<const Scheduled*>(&call) != nullptr;
}

Drills::Drills(boost::asio::io_context& io, const Settings& settings, Seen seen, Ask ask,
               Finished finished)
    : io_{io},
      settings_{settings},
      seen_{std::move(seen)},
      ask_{std::move(ask)},
      finished_{std::move(finished)},
      book_{settings.config().state_dir()},
      calendar_{settings.config()} {}

config::Drill drill_of(const Settings& settings, const std::string& guest) {
  const auto* known = settings.find_guest(guest);
  return known != nullptr && known->has_drill() ? known->drill() : *parse_drill("", "drill");
}

Result<config::Drill> Drills::plan_for(const control::DrillRequest& request) const {
  if (request.plan().empty()) return drill_of(settings_, request.guest());
  UNDERSTUDY_TRY(auto plan, parse_drill(request.plan(), "the probe file"));
  const auto* known = settings_.find_guest(request.guest());
  if (plan.address().empty() && known != nullptr) {
    plan.set_address(known->drill().address());
    plan.set_from(known->drill().from());
  }
  return plan;
}

control::DrillReport Drills::begin_report(const std::string& guest) const {
  const auto at = unix_now();
  control::DrillReport report;
  report.set_id(drill_id(guest, at));
  report.set_kind("clone");
  report.set_guest(guest);
  report.set_host(settings_.this_host().name());
  report.set_cluster(settings_.config().cluster());
  report.set_version(UNDERSTUDY_VERSION);
  report.set_started_unix_us(unix_us(at));
  return report;
}

void Drills::begin(const std::shared_ptr<ControlCall>& call, GuestHost& guest) {
  const auto& request = call->request().drill();
  if (request.real()) return begin_real(call, guest);
  if (const auto possible = guest.check_replica(); !possible) return call->fail(possible.error());
  if (std::exchange(busy_, true)) {
    return call->fail({ErrorKind::conflict, "a drill of guest " + guest_ + " is running here"});
  }
  guest_ = request.guest();
  auto plan = plan_for(request);
  if (!plan) {
    busy_ = false;
    return call->fail(plan.error());
  }
  DrillOrder order{
      {}, std::move(*plan), settings_.config().state_dir(), now(), begin_report(guest_)};
  order.report.set_scheduled(is_scheduled(*call));
  if (const auto commit = guest.last_commit()) {
    order.report.set_recovery_point_us(
        static_cast<std::uint64_t>(in_microseconds(order.commanded - commit->at).count()));
  }
  guest.clone_source(
      [this, call, order = std::move(order)](Result<checkpointer::CloneSource> source) mutable {
        if (!source || stopped_) {
          busy_ = false;
          return call->fail(source ? Error{ErrorKind::closed, "this host's daemon is stopping"}
                                   : source.error());
        }
        order.source = std::move(*source);
        start(call, std::move(order));
      });
}

// --- with the guest itself

void Drills::begin_real(const std::shared_ptr<ControlCall>& call, GuestHost& guest) {
  const auto& request = call->request().drill();
  const auto& here = settings_.this_host().name();
  if (busy_) {
    return call->fail({ErrorKind::conflict, "a drill of guest " + guest_ + " is running here"});
  }
  const auto before = guest.report();
  auto parties = RealDrill::plan(request.guest(), here, seen_by(guest, nullptr),
                                 {before.keep_on().begin(), before.keep_on().end()});
  if (!parties) return call->fail(parties.error());
  auto plan = plan_for(request);
  if (!plan) return call->fail(plan.error());
  auto report = begin_report(request.guest());
  const auto* known = settings_.find_guest(request.guest());
  report.set_configuration_hash(
      configuration_hash(known == nullptr ? config::Guest{} : *known, *plan));
  report.set_kind("real");
  report.set_scheduled(is_scheduled(*call));
  report.set_epoch(before.epoch());
  report.set_probes_skipped(why_skipped(*plan));
  if (!request.sure()) {
    control::Reply reply;
    reply.mutable_stakes()->set_text(stakes_text(*parties, report.probes_skipped()));
    return call->finish(std::move(reply));
  }
  busy_ = true;
  guest_ = request.guest();
  call_ = call;
  before_ = worst_ = impact_of(before);
  start_real(guest, std::move(*parties), std::move(*plan), std::move(report));
}

void Drills::start_real(GuestHost& guest, RealDrill::Parties parties, config::Drill plan,
                        control::DrillReport report) {
  log::info("drill.started", {log::kv("guest", guest_), log::kv("id", report.id()),
                              log::kv("kind", report.kind()), log::kv("away", parties.away)});
  RealDrillRun::World world{
      .io = io_,
      .guest = guest,
      .heard = [this] { return seen_(guest_); },
      .ask_back = [this] { ask_(guest_); },
      .progress =
          [this](const std::string& step, double fraction) {
            if (call_) call_->progress(step, fraction);
          },
  };
  real_ = std::make_unique<RealDrillRun>(std::move(world), std::move(parties), std::move(plan),
                                         std::move(report));
}

void Drills::tick_real() {
  if (now() - compared_ > limits::summary_period) {
    compared_ = now();
    if (const auto guest = real_->guest_now()) worsen(worst_, impact_of(*guest));
  }
  if (auto report = real_->tick()) finish(std::move(*report));
}

void Drills::answered(const peer::SwitchOverAnswer& answer) {
  if (real_) real_->answered(answer);
}

std::vector<DrillCalendar::Drill> Drills::due() {
  return stopped_ ? std::vector<DrillCalendar::Drill>{} : calendar_.due(unix_now());
}

/// While another drill runs, or nobody knows where the replica is, it waits.
void Drills::begin_scheduled(GuestHost& guest, const DrillCalendar::Drill& drill) {
  const auto outline = guest.outline();
  if (busy_ || outline.backup_host().empty()) return;
  calendar_.taken(drill, unix_now());
  const auto& runs_it = drill.real ? outline.active_host() : outline.backup_host();
  if (runs_it == settings_.this_host().name()) begin(std::make_shared<Scheduled>(drill), guest);
}

void Drills::start(const std::shared_ptr<ControlCall>& call, DrillOrder order) {
  order.report.set_configuration_hash(configuration_hash(order.source.guest, order.plan));
  log::info("drill.started", {log::kv("guest", guest_), log::kv("id", order.report.id())});
  const auto* seen = seen_(guest_);
  before_ = seen == nullptr ? control::DrillImpact{} : impact_of(*seen);
  worst_ = before_;
  max_commit_ms_ = order.plan.max_commit_ms();
  call_ = call;
  DrillRunner::Events events;
  events.progress = [this](const std::string& step, double fraction) {
    boost::asio::post(io_, [this, step, fraction] {
      if (call_) call_->progress(step, fraction);
    });
  };
  events.done = [this](control::DrillReport report) {
    boost::asio::post(io_,
                      [this, report = std::move(report)]() mutable { finish(std::move(report)); });
  };
  runner_ = std::make_unique<DrillRunner>(std::move(order), std::move(events));
}

void Drills::tick() {
  if (real_) tick_real();
  if (!runner_) return;
  const auto* seen = seen_(guest_);
  if (seen == nullptr) return;
  worsen(worst_, impact_of(*seen));
  if (const auto why = why_too_much(*seen, max_commit_ms_))
    runner_->cancel("stopped by itself: " + *why);
}

void Drills::finish(control::DrillReport report) {
  if (stopped_) return;
  runner_.reset();
  real_.reset();
  busy_ = false;
  *report.mutable_before() = before_;
  *report.mutable_worst() = worst_;
  log::info("drill.done",
            {log::kv("guest", report.guest()), log::kv("id", report.id()),
             log::kv("passed", report.passed() ? "yes" : "no"),
             log::kv("recovery_us", report.recovery_us()), log::kv("why", report.failure())});
  finished_(report);
  const auto call = std::exchange(call_, nullptr);
  if (const auto kept = book_.add(report); !kept) {
    return call->fail(kept.error().within("the drill's evidence cannot be kept"));
  }
  control::Reply reply;
  *reply.mutable_drill() = std::move(report);
  call->finish(std::move(reply));
}

control::DrillList Drills::list() const {
  control::DrillList list;
  for (const auto& one : book_.all()) *list.add_drill() = one;
  for (auto& one : calendar_.next()) *list.add_next() = std::move(one);
  return list;
}

std::optional<std::string> Drills::page(std::string_view id) const {
  const auto found = std::ranges::find(book_.all(), id, &control::DrillReport::id);
  if (found == book_.all().end()) return std::nullopt;
  return drill_page(*found);
}

std::optional<control::DrillSummary> Drills::last(const std::string& guest) const {
  const auto* report = book_.last(guest);
  if (report == nullptr) return std::nullopt;
  return summary_of(*report);
}

void Drills::stop() {
  if (real_ && !stopped_) {
    finish(real_->give_up(
        "this host's daemon was stopped; if the guest ran here, its backup takes over"));
  }
  stopped_ = true;
  runner_.reset();
  call_.reset();
}

}  // namespace understudy::failover
