#include "failover/guest_host.hpp"

#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>

#include "config/log.hpp"
#include "config/names.hpp"
#include "failover/verify_call.hpp"

namespace understudy::failover {
namespace {

std::uint64_t count_us(Duration duration) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(in_microseconds(duration).count(), 0));
}

control::Quantiles to_message(const checkpointer::Quantiles& quantiles) {
  control::Quantiles message;
  message.set_count(quantiles.count);
  message.set_p50(quantiles.p50);
  message.set_p99(quantiles.p99);
  message.set_max(quantiles.max);
  message.set_last(quantiles.last);
  return message;
}

control::Histogram to_message(const checkpointer::LatencyHistogram& histogram) {
  control::Histogram message;
  message.mutable_bound()->Add(histogram.bounds().begin(), histogram.bounds().end());
  message.mutable_count()->Add(histogram.counts().begin(), histogram.counts().end());
  message.set_sum(histogram.sum());
  return message;
}

control::Totals to_message(const checkpointer::EpochTotals& totals) {
  control::Totals message;
  *message.mutable_pause_seconds() = to_message(totals.pause);
  *message.mutable_commit_latency_seconds() = to_message(totals.commit_latency);
  message.set_dirty_pages(totals.dirty_pages);
  message.set_bytes(totals.bytes);
  return message;
}

/// Why a host can never keep the replica of a guest that runs on this one; empty: it can.
std::string why_unfit(const config::Host& host, const config::Host& here) {
  if (host.replication_address().empty()) {
    return fmt::format("host {} is a witness and keeps no guests", host.name());
  }
  if (!host.label().empty() && host.label() == here.label()) {
    return fmt::format("hosts {} and {} have the same label, {}", here.name(), host.name(),
                       host.label());
  }
  return {};
}

GuestPolicy policy_of(const std::string& guest, const Settings& settings) {
  GuestPolicy policy;
  for (const auto& host : settings.config().host()) {
    auto why = why_unfit(host, settings.this_host());
    if (!why.empty()) policy.unfit.emplace(NodeId{host.node_id()}, std::move(why));
  }
  const auto* configured = settings.find_guest(guest);
  if (configured == nullptr) return policy;
  policy.automatic = configured->protection().automatic();
  policy.autostart = configured->autostart();
  for (const auto& name : configured->protection().backup()) {
    policy.keep_on.emplace_back(settings.find_host(name)->node_id());
  }
  return policy;
}

}  // namespace

GuestHost::GuestHost(std::string name, Daemon& daemon)
    : name_{std::move(name)},
      daemon_{daemon},
      role_{name_, daemon.settings.this_node(), policy_of(name_, daemon.settings)},
      engine_{name_, daemon.settings.config().state_dir(),
              [this](const checkpointer::GuestEvent& event) {
                post([this, event] { on_engine_event(event); });
              }} {}

void GuestHost::post(std::function<void()> work) {
  boost::asio::post(daemon_.io, [this, work = std::move(work)] {
    work();
    decide();
  });
}

void GuestHost::decide() {
  role_.others_copy(!daemon_.copying.empty() && daemon_.copying != name_);
  for (const auto& action : role_.decide(daemon_.book, now())) perform(action);
  if (role_.copying()) {
    daemon_.copying = name_;
  } else if (daemon_.copying == name_) {
    daemon_.copying.clear();
  }
}

void GuestHost::on_view(const View& view) {
  if (role_.presence() != Presence::standby) return;
  const auto active = daemon_.book.decided(name_).active;
  outage_.Clear();
  if (active != nobody && !view.has(active)) outage_.set_lost_view_unix_us(unix_us(unix_now()));
}

void GuestHost::tick() {
  const auto progress = engine_.progress();
  if (progress) role_.link(progress->link_up, now());
  const bool synchronising = !calls_.empty() && calls_.front()->request().has_protect();
  if (synchronising && role_.protecting() && progress) {
    const bool whole = progress->committed != Epoch{};
    calls_.front()->progress(whole ? "recording the backup" : "synchronising memory",
                             progress->sync_fraction);
  }
  decide();
}

// --- what happens by itself

void GuestHost::on_engine_event(const checkpointer::GuestEvent& event) {
  using namespace checkpointer;
  struct Tell {
    GuestRole& role;
    void operator()(const GuestPoweredOff&) const { role.guest_powered_off(); }
    void operator()(const GuestFailed& failed) const { role.guest_failed(failed.why.message); }
    void operator()(const ReplicaReady&) const { role.replica_ready(); }
    void operator()(const BackupLost& lost) const { role.protection_lost(lost.why); }
    void operator()(const StandbyReady&) const { role.standby_ready(); }
    void operator()(const StandbyLost&) const { role.standby_lost(now()); }
  };
  if (std::holds_alternative<GuestFailed>(event) && role_.presence() == Presence::standby) {
    daemon_.end_session(name_, "the standby machine is gone");
  }
  std::visit(Tell{role_}, event);
}

/// Disk images may lie elsewhere on this host, if its own configuration of the guest says so; and
/// it alone says what history is kept here.
replication::Offer GuestHost::with_own_paths(replication::Offer offer) const {
  const auto* own = daemon_.settings.find_guest(name_);
  if (own != nullptr) {
    offer.mutable_guest()->clear_history();
    if (own->has_history()) *offer.mutable_guest()->mutable_history() = own->history();
  }
  if (own == nullptr || own->disk_size() != offer.guest().disk_size()) return offer;
  for (int i = 0; i < own->disk_size(); ++i)
    offer.mutable_guest()->mutable_disk(i)->set_path(own->disk(i).path());
  return offer;
}

Result<std::shared_ptr<replication::ReplicaEvents>> GuestHost::accept(
    const replication::Offer& offer) {
  auto replica = engine_.become_standby(with_own_paths(offer));
  if (replica) {
    post([this, term = Term{offer.term()}] { role_.standby_made(term); });
  }
  return replica;
}

// --- requests

void GuestHost::begin(std::shared_ptr<ControlCall> call, const Result<>& accepted) {
  if (!accepted) return call->fail(accepted.error());
  calls_.push_back(std::move(call));
  decide();
}

/// A guest with disks starts where the newest of them are, unless its operator says otherwise.
Result<> GuestHost::check_home() const {
  const auto* guest = daemon_.settings.find_guest(name_);
  const auto home = daemon_.book.decided(name_).home;
  if (guest == nullptr || guest->disk().empty() || home == nobody ||
      home == daemon_.settings.this_node()) {
    return {};
  }
  return fail(ErrorKind::conflict,
              "guest {0} ran last on host {1}, where its newest disk images are; start it there. "
              "To boot from this host's images nevertheless: understudy start {0} --accept-disks",
              name_, host_name(home));
}

void GuestHost::start(std::shared_ptr<ControlCall> call) {
  const bool accepted = call->request().start().accept_disks();
  if (const auto home = check_home(); daemon_.book.ready() && !accepted && !home)
    return call->fail(home.error());
  disk_trust_ = accepted ? checkpointer::DiskTrust::accepted : checkpointer::DiskTrust::checked;
  begin(std::move(call), role_.start(daemon_.book));
}
void GuestHost::import_from(std::shared_ptr<ControlCall> call) {
  begin(std::move(call), role_.start(daemon_.book));
}
void GuestHost::stop(std::shared_ptr<ControlCall> call) {
  begin(std::move(call), role_.stop(daemon_.book));
}
void GuestHost::unprotect(std::shared_ptr<ControlCall> call) {
  begin(std::move(call), role_.unprotect(daemon_.book));
}

void GuestHost::switch_over(std::shared_ptr<ControlCall> call) {
  begin(std::move(call), role_.switch_over(daemon_.book));
}

void GuestHost::protect(std::shared_ptr<ControlCall> call) {
  const auto& backup = call->request().protect().backup();
  const auto* host = daemon_.settings.find_host(backup);
  if (host == nullptr) {
    return call->fail(
        {ErrorKind::invalid, fmt::format("there is no host \"{}\" in the configuration", backup)});
  }
  if (host->node_id() == daemon_.settings.this_node().value()) {
    return call->fail({ErrorKind::invalid,
                       fmt::format("host {} cannot be its own backup; name another host", backup)});
  }
  if (const auto why = why_unfit(*host, daemon_.settings.this_host()); !why.empty()) {
    return call->fail({ErrorKind::invalid, why + "; name another host"});
  }
  auto accepted = role_.protect(daemon_.book, NodeId{host->node_id()});
  begin(std::move(call), accepted);
}

Result<> GuestHost::check_replica() const {
  const auto record = daemon_.book.decided(name_);
  if (!daemon_.book.ready()) return fail(ErrorKind::unavailable, "the records are not agreed");
  if (record.backup == nobody)
    return fail(ErrorKind::conflict, "guest {} has no backup; protect it first", name_);
  if (record.backup == daemon_.settings.this_node()) return {};
  return fail(ErrorKind::conflict, "the replica of guest {} is on host {}; give the command there",
              name_, host_name(record.backup));
}

void GuestHost::clone_source(std::function<void(Result<checkpointer::CloneSource>)> done) {
  engine_.clone_source([this,
                        done = std::move(done)](Result<checkpointer::CloneSource> source) mutable {
    boost::asio::post(daemon_.io, [done = std::move(done), source = std::move(source)]() mutable {
      done(std::move(source));
    });
  });
}

void GuestHost::arm_rewind(checkpointer::RewindOrder order, RewindDone done) {
  armed_ = {std::move(order), daemon_.book.decided(name_).term, std::move(done)};
}

bool GuestHost::disarm_rewind() {
  if (!armed_) return false;
  armed_.reset();
  return true;
}

std::optional<Record> GuestHost::record() const {
  if (!daemon_.book.ready()) return std::nullopt;
  return daemon_.book.decided(name_);
}

/// Who died meanwhile has not handed over its newest epoch: the guest goes on from what is here.
std::optional<checkpointer::RewindOrder> GuestHost::take_rewind(const act::Promote& action) {
  auto armed = std::exchange(armed_, std::nullopt);
  if (!armed) return std::nullopt;
  rewind_done_ = std::move(armed->done);
  const bool handed_over =
      action.output == Output::holding && daemon_.book.decided(name_).term == armed->term.next();
  if (handed_over) return std::move(armed->order);
  return std::nullopt;
}

void GuestHost::verify(std::shared_ptr<ControlCall> call) {
  engine_.verify(verify_order(daemon_.io, std::move(call)));
}

// --- actions

void GuestHost::perform(const Action& action) {
  std::visit([this](const auto& one) { perform(one); }, action);
}

void GuestHost::perform(const act::Propose& action) {
  log::info("record.proposed",
            {log::kv("guest", name_), log::kv("active", host_name(action.next.active)),
             log::kv("backup", host_name(action.next.backup)), log::kv("why", role_.detail())});
  daemon_.send(daemon_.book.propose(name_, action.next));
}

void GuestHost::perform(const act::StartGuest&) {
  const auto* guest = daemon_.settings.find_guest(name_);
  if (guest == nullptr) {
    return post([this] {
      role_.started(
          fail(ErrorKind::invalid, "guest {} is not in this host's configuration", name_));
    });
  }
  const auto started = [this](Result<> outcome) {
    post([this, outcome = std::move(outcome)] { role_.started(outcome); });
  };
  if (!calls_.empty() && calls_.front()->request().has_import()) {
    return engine_.import_from(*guest, calls_.front()->request().import().path(), tell_caller(),
                               started);
  }
  engine_.start(*guest, std::exchange(disk_trust_, {}), started);
}

checkpointer::GuestEngine::Tell GuestHost::tell_caller() {
  return [this](const std::string& step, double fraction) {
    boost::asio::post(daemon_.io, [this, step, fraction] {
      if (!calls_.empty()) calls_.front()->progress(step, fraction);
    });
  };
}

void GuestHost::perform(const act::StopGuest& action) {
  log::info("guest.removed", {log::kv("guest", name_), log::kv("why", action.why)});
  engine_.stop([this](const Result<>&) { post([this] { role_.stopped(); }); });
}

void GuestHost::perform(const act::EndSession& action) {
  daemon_.end_session(name_, action.why);
}

void GuestHost::perform(const act::Promote& action) {
  using Engine = checkpointer::GuestEngine;
  const auto output = action.output == Output::open ? Engine::Output::open : Engine::Output::held;
  decided_at_ = now();
  outage_.set_decision_unix_us(unix_us(unix_now()));
  outage_.set_planned(action.output != Output::open);  // what was handed over waits for the record
  log::info("promotion.decided", {log::kv("guest", name_)});
  engine_.promote(output, take_rewind(action), [this](Engine::Promotion promotion) {
    const auto at = now();
    const auto at_unix_us = unix_us(unix_now());
    post([this, promotion = std::move(promotion), at, at_unix_us] {
      const auto& outcome = promotion.outcome;
      if (outcome) {
        outage_.set_running_unix_us(at_unix_us);
        outage_.set_promote_us(count_us(at - decided_at_));
        log::info("promotion.done", {log::kv("guest", name_), log::kv("us", outage_.promote_us())});
      } else {
        log::error("promotion.failed",
                   {log::kv("guest", name_), log::kv("why", outcome.error().message)});
      }
      role_.promoted(outcome);
      if (const auto done = std::exchange(rewind_done_, nullptr)) done(promotion);
    });
  });
}

void GuestHost::perform(const act::HandOver&) {
  engine_.hand_over([this](Result<TimePoint> paused) {
    post([this, paused = std::move(paused)] {
      if (paused) paused_at_ = *paused;
      role_.handed_over(paused ? Result<>{} : fail(paused.error()));
    });
  });
}

void GuestHost::perform(const act::Protect& action) {
  const auto& settings = daemon_.settings;
  const auto* backup = settings.find_host(action.backup);
  auto endpoint = parse_endpoint(backup->replication_address());
  if (!endpoint) return post([this, why = endpoint.error()] { role_.protection_lost(why); });
  const replication::SenderParties parties{settings.config().cluster(), settings.this_host().name(),
                                           backup->name(), *endpoint, daemon_.transport};
  engine_.protect(parties, action.term, [this](Result<> outcome) {
    if (outcome) return;
    post([this, why = outcome.error()] { role_.protection_lost(why); });
  });
}

void GuestHost::perform(const act::EndProtection& action) {
  engine_.end_protection(action.why,
                         [this](const Result<>&) { post([this] { role_.protection_ended(); }); });
}

void GuestHost::perform(const act::Suspend&) {
  log::warning("guest.suspended", {log::kv("guest", name_), log::kv("why", role_.detail())});
  engine_.suspend(nullptr);
}

void GuestHost::perform(const act::Resume&) {
  log::info("guest.resumed", {log::kv("guest", name_)});
  engine_.resume(nullptr);
}

void GuestHost::perform(const act::SetOutput& action) {
  switch (action.output) {
    case Output::closed: return engine_.close_output();
    case Output::holding: return engine_.hold_output();
    case Output::open: return engine_.open_output();
  }
}

void GuestHost::perform(const act::Answer& action) {
  if (calls_.empty()) return;
  const auto call = std::move(calls_.front());
  calls_.pop_front();
  if (!action.result) return call->fail(action.result.error());
  control::Reply reply;
  reply.mutable_done()->set_message(done_text(call->request(), *action.result));
  if (call->request().has_switch_over())
    reply.mutable_done()->set_stood_still_us(count_us(now() - paused_at_));
  call->finish(std::move(reply));
}

std::string GuestHost::done_text(const control::Request& request, const std::string& what) const {
  if (request.has_protect())
    return fmt::format("guest {} {} to {}", name_, what, request.protect().backup());
  if (request.has_import())
    return fmt::format("guest {} {} from {}", name_, what, request.import().path());
  if (!request.has_switch_over()) return fmt::format("guest {} {}", name_, what);
  return fmt::format("guest {} {} to {}: paused here until it ran there for {:.1f} ms", name_, what,
                     host_name(daemon_.book.decided(name_).active),
                     static_cast<double>(count_us(now() - paused_at_)) / 1000);
}

// --- status

std::string GuestHost::host_name(NodeId node) const {
  if (node == nobody) return "";
  const auto* host = daemon_.settings.find_host(node);
  return host == nullptr ? fmt::format("node {}", node) : host->name();
}

control::Guest GuestHost::outline() const {
  control::Guest guest;
  guest.set_name(name_);
  const auto record = daemon_.book.decided(name_);
  guest.set_term(record.term.value());
  guest.set_active_host(host_name(record.active));
  guest.set_backup_host(
      host_name(record.backup != nobody ? record.backup : role_.protection_target()));
  if (const auto commit = engine_.last_commit()) {
    guest.set_epoch(commit->epoch.value());
    guest.set_commit_age_us(count_us(now() - commit->at));
  }
  if (outage_.running_unix_us() != 0) *guest.mutable_last_failover() = outage_;
  report_state(guest);
  return guest;
}

control::Guest GuestHost::report() const {
  auto guest = outline();
  guest.set_detail(role_.detail());
  report_outlook(guest);
  const auto status = engine_.status();
  guest.set_accelerator(status.accelerator);
  if (!status.disk_complaints.empty()) guest.set_detail(status.disk_complaints);
  guest.set_disk_waiting_bytes(status.disk_waiting_bytes);
  report_protection(guest, status);
  return guest;
}

void GuestHost::report_outlook(control::Guest& guest) const {
  for (const auto host : daemon_.book.decided(name_).keep_on) guest.add_keep_on(host_name(host));
  for (const auto& one : role_.outlook(daemon_.book, now())) {
    auto& candidate = *guest.add_candidate();
    candidate.set_host(host_name(one.host));
    candidate.set_obstacle(one.obstacle);
    candidate.set_possible(one.wait.has_value());
    candidate.set_in_us(count_us(one.wait.value_or(Duration{})));
  }
}

void GuestHost::report_state(control::Guest& guest) const {
  const auto record = daemon_.book.decided(name_);
  switch (role_.presence()) {
    case Presence::none:
    case Presence::stopping:
      guest.set_state(role_.failed() ? control::FAILED : control::STOPPED);
      break;
    case Presence::starting: guest.set_state(control::STARTING); break;
    case Presence::promoting: guest.set_state(control::PROMOTING); break;
    case Presence::standby:
      guest.set_state(record.backup == daemon_.settings.this_node() ? control::PROTECTED
                                                                    : control::SYNCHRONISING);
      break;
    case Presence::running:
      if (role_.suspended()) {
        guest.set_state(control::SUSPENDED);
      } else if (record.backup != nobody) {
        guest.set_state(control::PROTECTED);
      } else {
        guest.set_state(role_.protecting() ? control::SYNCHRONISING : control::UNPROTECTED);
      }
  }
}

void GuestHost::report_protection(control::Guest& guest,
                                  const checkpointer::EngineStatus& status) const {
  if (status.gate) {
    guest.set_held_packets(status.gate->held_packets);
    guest.set_held_bytes(status.gate->held_bytes);
    guest.set_hold_limit_bytes(status.gate->hold_limit);
    guest.set_hold_full(status.gate->full);
    guest.set_ingress_cut(status.gate->ingress_cut);
    guest.set_egress_dropped(status.gate->egress_dropped);
    auto& hold = *guest.mutable_hold_us();
    hold.set_p50(static_cast<double>(count_us(status.gate->hold_p50)));
    hold.set_p99(static_cast<double>(count_us(status.gate->hold_p99)));
    hold.set_max(static_cast<double>(count_us(status.gate->hold_max)));
  }
  if (!status.primary) return;
  const auto& primary = *status.primary;
  *guest.mutable_pause_us() = to_message(primary.epochs.pause_us);
  *guest.mutable_commit_latency_us() = to_message(primary.epochs.commit_latency_us);
  *guest.mutable_totals() = to_message(primary.totals);
  guest.set_pages_per_epoch(primary.epochs.pages_per_epoch);
  guest.set_bytes_per_epoch(primary.epochs.bytes_per_epoch);
  guest.set_epochs_per_second_milli(
      static_cast<std::uint64_t>(primary.epochs.epochs_per_second * 1000));
  guest.set_sync_fraction(primary.sync_fraction);
  guest.set_throttled(primary.throttled);
  const auto* backup = daemon_.settings.find_host(role_.protection_target());
  const auto where = backup == nullptr
                         ? std::string{}
                         : daemon_.transport->where(backup->name(), backup->replication_address());
  guest.set_link(fmt::format("{} {} {} {}", daemon_.transport->name(), where,
                             primary.link_up ? "up" : "down",
                             daemon_.settings.config().has_security() ? "encrypted" : "clear"));
}

}  // namespace understudy::failover
