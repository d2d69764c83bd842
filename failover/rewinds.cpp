#include "failover/rewinds.hpp"

#include <utility>

#include <boost/asio/post.hpp>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"
#include "failover/clones.hpp"
#include "failover/console/history_view.hpp"

namespace understudy::failover {
namespace {

std::string text_of(const checkpointer::HistoryPoint& point) {
  return console::point_text(to_message(point));
}

Error ended_by_operator() {
  return {ErrorKind::closed, "the command was ended before the guest went back"};
}

std::string age_text(Duration age) {
  return console::span_text(
      static_cast<std::uint64_t>(std::max<std::int64_t>(in_microseconds(age).count(), 0)));
}

std::string stakes_text(const std::string& guest, const std::string& host,
                        const checkpointer::RewindPlan& plan) {
  return fmt::format(
      "Guest {0} is to go back to {1}, {2} before its newest epoch, {3}.\n"
      "Whatever it did since then is undone, in its memory and on its disks, though its clients\n"
      "were told of it. Its newest epoch is kept as a branch in {4}, at most {5}.\n"
      "It moves to this host, {6}, and stands still while the branch is written. Then it runs\n"
      "without a backup until it is protected again. Connections that were open do not go on,\n"
      "and are not reset either: start its clients anew. Its clock is that of the epoch.\n",
      guest, text_of(plan.to), age_text(plan.newest.committed_at - plan.to.committed_at),
      text_of(plan.newest), plan.order.branches,
      console::bytes_text(static_cast<double>(plan.branch_bytes_max)), host);
}

}  // namespace

Rewinds::~Rewinds() {
  stop();
}

void Rewinds::stop() {
  stopped_ = true;
  if (planner_.joinable()) planner_.join();
  current_.reset();
  told_.clear();
}

void Rewinds::begin(const std::shared_ptr<ControlCall>& call, GuestHost& guest) {
  const auto& request = call->request().rewind();
  if (current_)
    return call->fail({ErrorKind::conflict, "another rewind is under way on this host"});
  if (const auto possible = guest.check_replica(); !possible) return call->fail(possible.error());
  if (!wish_of(request.moment(), unix_now()))
    return call->fail({ErrorKind::invalid, "say how far back: --to, --ago or --epoch"});
  current_ = One{.call = call, .guest = &guest, .name = request.guest()};
  guest.clone_source([this](Result<checkpointer::CloneSource> source) {
    if (stopped_ || !current_) return;
    if (current_->call->abandoned()) return fail(ended_by_operator());
    if (!source) return fail(source.error());
    plan(std::move(*source));
  });
}

void Rewinds::plan(checkpointer::CloneSource source) {
  const auto wish = *wish_of(current_->call->request().rewind().moment(), unix_now());
  if (planner_.joinable()) planner_.join();  // it has posted the plan before this one
  planner_ = std::thread{[this, source = std::move(source), wish] {
    leave_real_time();  // inherited, and not for this
    auto made = checkpointer::plan_rewind(
        source, wish, checkpointer::branch_directory(source.guest, settings_.config().state_dir()));
    boost::asio::post(io_, [this, made = std::move(made)] {
      if (!stopped_ && current_) planned(made);
    });
  }};
}

void Rewinds::planned(const Result<checkpointer::RewindPlan>& plan) {
  if (current_->call->abandoned()) return fail(ended_by_operator());
  if (!plan) return fail(plan.error());
  const auto& request = current_->call->request().rewind();
  if (!request.sure()) return tell_stakes(*plan);
  if (request.committed_unix_us() != 0 &&
      request.committed_unix_us() != unix_us(plan->to.committed_at)) {
    return fail(
        {ErrorKind::conflict,
         fmt::format("epoch {} of guest {} is another moment than the one you were told of: "
                     "its history began anew meanwhile; nothing was done",
                     plan->to.epoch, current_->name)});
  }
  order(*plan);
}

void Rewinds::tell_stakes(const checkpointer::RewindPlan& plan) {
  const auto one = *std::exchange(current_, std::nullopt);
  told_.insert_or_assign(one.name, Told{plan.order, now()});
  control::Reply reply;
  reply.mutable_stakes()->set_text(stakes_text(one.name, settings_.this_host().name(), plan));
  reply.mutable_stakes()->set_epoch(plan.to.epoch.value());
  reply.mutable_stakes()->set_committed_unix_us(unix_us(plan.to.committed_at));
  one.call->finish(std::move(reply));
}

void Rewinds::order(const checkpointer::RewindPlan& plan) {
  auto& one = *current_;
  told_.erase(one.name);
  // It may have moved while the plan was made.
  if (const auto possible = one.guest->check_replica(); !possible) return fail(possible.error());
  log::warning("rewind.ordered", {log::kv("guest", one.name), log::kv("to", plan.to.epoch),
                                  log::kv("newest", plan.newest.epoch)});
  one.term = one.guest->record()->term;
  one.asked_at = now();
  auto wanted = plan.order;
  wanted.author = {settings_.this_host().name(), UNDERSTUDY_VERSION};
  wanted.stop = one.stop.get_token();
  one.guest->arm_rewind(std::move(wanted), [this](checkpointer::GuestEngine::Promotion promotion) {
    if (stopped_ || !current_) return;
    current_->promotion = std::move(promotion);
    current_->promoted_at = now();
  });
  ask_(one.name);
}

void Rewinds::answered(const peer::SwitchOverAnswer& answer) {
  if (!current_ || current_->name != answer.guest() || current_->term != Term{answer.term()})
    return;
  if (current_->let_go) return fail(ended_by_operator());
  if (answer.error().empty()) {
    current_->stood_still_us = answer.stood_still_us();
  } else if (current_->guest->disarm_rewind()) {
    fail({ErrorKind::unavailable,
          fmt::format("guest {} was not rewound, and runs on where it was: {}", current_->name,
                      answer.error())});
  }
}

void Rewinds::tick() {
  std::erase_if(told_,
                [](const auto& one) { return now() - one.second.at > limits::rewind_question; });
  if (current_ && current_->call->abandoned()) abandon();
  if (!current_ || current_->asked_at == TimePoint{}) return;
  auto& one = *current_;
  if (one.promotion) return finish();
  const bool late = now() - one.asked_at > limits::rewind_hand_over;
  if (late && (one.let_go || one.guest->disarm_rewind())) {
    return fail({ErrorKind::timed_out,
                 fmt::format("guest {} was not rewound: it was not handed over in time; "
                             "`understudy status` says where it runs",
                             one.name)});
  }
  one.call->progress("keeping the future as a branch, and going back", -1);
}

/// One that is still planned ends when the plan is there; one that is handed over already, before
/// its first change. What the active host was asked for cannot be taken back.
void Rewinds::abandon() {
  if (current_->asked_at == TimePoint{} || current_->stop.stop_requested()) return;
  current_->stop.request_stop();
  current_->let_go = current_->guest->disarm_rewind();
}

/// Where it runs is true once it is recorded.
void Rewinds::finish() {
  const auto& one = *current_;
  const auto record = one.guest->record();
  const auto& [outcome, rewound] = *one.promotion;
  const auto why = !outcome    ? outcome.error().message
                   : !rewound  ? "its host was lost before it had handed the guest over"
                   : !*rewound ? rewound->error().message
                               : std::string{};
  const bool moved = record && record->active == settings_.this_node();
  if (record && !moved && record->term > one.term.next()) {
    return fail({ErrorKind::unavailable,
                 fmt::format("guest {} was not rewound, and does not run here: {}", one.name,
                             why.empty() ? "another host has taken it over" : why)});
  }
  // The record that lets this host promote still names the other; the next one does not.
  if (!moved || (record->backup != nobody && record->term <= one.term.next())) return;
  if (!why.empty()) {
    return fail(
        {ErrorKind::unavailable,
         fmt::format("guest {} was not rewound: {}. It runs on this host now, at its newest "
                     "epoch",
                     one.name, why)});
  }
  if (!one.stood_still_us && now() - one.promoted_at < limits::rewind_answer) return;
  control::Reply reply;
  auto& told = *reply.mutable_rewound();
  told.set_guest(one.name);
  told.set_host(settings_.this_host().name());
  *told.mutable_now() = to_message((*rewound)->to);
  *told.mutable_abandoned() = to_message((*rewound)->from);
  *told.mutable_branch() = to_message((*rewound)->branch);
  told.set_stood_still_us(one.stood_still_us.value_or(0));
  log::warning("rewind.done", {log::kv("guest", one.name), log::kv("epoch", told.now().epoch()),
                               log::kv("abandoned", told.abandoned().epoch()),
                               log::kv("branch", told.branch().path())});
  std::exchange(current_, std::nullopt)->call->finish(std::move(reply));
}

void Rewinds::fail(const Error& why) {
  const auto one = *std::exchange(current_, std::nullopt);
  if (one.asked_at != TimePoint{})
    log::warning("rewind.failed", {log::kv("guest", one.name), log::kv("why", why.message)});
  one.call->fail(why);
}

}  // namespace understudy::failover
