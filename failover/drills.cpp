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

/// A drill for which nobody waits.
class Drills::Scheduled : public ControlCall {
 public:
  explicit Scheduled(const std::string& guest) { request_.mutable_drill()->set_guest(guest); }
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

Drills::Drills(boost::asio::io_context& io, const Settings& settings, Seen seen, Finished finished)
    : io_{io},
      settings_{settings},
      seen_{std::move(seen)},
      finished_{std::move(finished)},
      book_{settings.config().state_dir()},
      calendar_{settings.config()} {}

Result<config::Drill> Drills::plan_for(const control::DrillRequest& request) const {
  if (request.plan().empty()) {
    const auto* known = settings_.find_guest(request.guest());
    if (known != nullptr && known->has_drill()) return known->drill();
    return parse_drill("", "drill");
  }
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
  report.set_guest(guest);
  report.set_host(settings_.this_host().name());
  report.set_cluster(settings_.config().cluster());
  report.set_version(UNDERSTUDY_VERSION);
  report.set_started_unix_us(static_cast<std::uint64_t>(at.time_since_epoch().count()));
  return report;
}

void Drills::begin(const std::shared_ptr<ControlCall>& call, GuestHost& guest) {
  const auto& request = call->request().drill();
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
  order.report.set_scheduled(dynamic_cast<Scheduled*>(call.get()) != nullptr);
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

std::vector<std::string> Drills::due() {
  return stopped_ ? std::vector<std::string>{} : calendar_.due(unix_now());
}

/// While another drill runs, or nobody knows where the replica is, it waits.
void Drills::begin_scheduled(GuestHost& guest, const std::string& name) {
  const auto backup = guest.outline().backup_host();
  if (busy_ || backup.empty()) return;
  calendar_.taken(name, unix_now());
  if (backup == settings_.this_host().name()) begin(std::make_shared<Scheduled>(name), guest);
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

std::optional<std::string> Drills::why_too_much(const control::Guest& seen) const {
  if (seen.throttled()) return "the real guest was throttled meanwhile";
  const auto p50_ms = seen.commit_latency_us().p50() / 1000;
  if (p50_ms <= max_commit_ms_) return std::nullopt;
  return fmt::format("the real guest's commits took {:.0f} ms (p50), more than {} ms", p50_ms,
                     max_commit_ms_);
}

void Drills::tick() {
  if (!runner_) return;
  const auto* seen = seen_(guest_);
  if (seen == nullptr) return;
  worsen(worst_, impact_of(*seen));
  if (const auto why = why_too_much(*seen)) runner_->cancel("stopped by itself: " + *why);
}

void Drills::finish(control::DrillReport report) {
  if (stopped_) return;
  runner_.reset();
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
  stopped_ = true;
  runner_.reset();
  call_.reset();
}

}  // namespace understudy::failover
