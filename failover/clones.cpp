#include "failover/clones.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include <boost/asio/post.hpp>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/names.hpp"

namespace understudy::failover {
namespace {

constexpr std::size_t gdb_path_bytes = 100;  // of a unix socket: unix(7)

std::uint64_t count_us(auto time) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<microseconds>(time).count());
}

control::History to_message(const checkpointer::HistoryReport& report) {
  control::History message;
  message.set_max_bytes(report.bounds.bytes);
  message.set_depth_us(count_us(report.bounds.depth));
  message.set_losses(report.losses);
  message.set_loss(report.loss);
  if (report.oldest) *message.mutable_oldest() = failover::to_message(*report.oldest);
  if (report.newest) *message.mutable_newest() = failover::to_message(*report.newest);
  for (const auto& one : report.bands) {
    auto& band = *message.add_band();
    if (one.until_age != Duration::max()) band.set_until_age_us(count_us(one.until_age));
    band.set_points(one.points);
    band.set_bytes(one.bytes);
    message.set_points(message.points() + one.points);
    message.set_bytes(message.bytes() + one.bytes);
  }
  return message;
}

/// A port, or the whole path of a socket that can be given to QEMU as it is.
Result<> check_gdb(const std::string& where) {
  if (where.empty()) return {};
  unsigned port{};
  const auto* end = where.data() + where.size();
  const auto parsed = std::from_chars(where.data(), end, port);
  if (parsed.ec == std::errc{} && parsed.ptr == end && port > 0 && port < 65'536) return {};
  const bool plain =
      std::ranges::all_of(where, [](char c) { return c == '/' || name_character(c); });
  if (where.front() == '/' && plain && where.size() < gdb_path_bytes) return {};
  return fail(ErrorKind::invalid,
              "--gdb takes a port, or a socket's whole path of letters, digits, '.', '-' and '_'");
}

}  // namespace

std::optional<checkpointer::HistoryWish> wish_of(const control::Moment& moment, UnixTime now) {
  const auto time = [](std::uint64_t us) {
    constexpr auto most = static_cast<std::uint64_t>(microseconds::max().count());
    return UnixTime{microseconds{static_cast<microseconds::rep>(std::min(us, most))}};
  };
  const auto now_us = unix_us(now);
  switch (moment.what_case()) {
    case control::Moment::kAtUnixUs: return time(moment.at_unix_us());
    case control::Moment::kAgoUs: return time(now_us - std::min(now_us, moment.ago_us()));
    case control::Moment::kEpoch: return Epoch{moment.epoch()};
    case control::Moment::WHAT_NOT_SET: break;
  }
  return std::nullopt;
}

control::HistoryPoint to_message(const checkpointer::HistoryPoint& point) {
  control::HistoryPoint message;
  message.set_epoch(point.epoch.value());
  message.set_committed_unix_us(unix_us(point.committed_at));
  return message;
}

control::Branch to_message(const checkpointer::Branch& branch) {
  control::Branch message;
  message.set_path(branch.path);
  message.set_bytes(branch.bytes);
  return message;
}

void Clones::history(const std::shared_ptr<ControlCall>& call, GuestHost& guest) const {
  const auto name = call->request().history().guest();
  control::Reply reply;
  reply.mutable_history()->set_guest(name);
  if (const auto* known = settings_.find_guest(name)) {
    for (const auto& one : checkpointer::list_branches(
             checkpointer::branch_directory(*known, settings_.config().state_dir()), name))
      *reply.mutable_history()->add_branch() = to_message(one);
  }
  // Branches are where the guest went back, and there it runs: no history is there then.
  const auto answer_without = [call, reply](const Error& why) {
    if (reply.history().branch().empty()) return call->fail(why);
    auto branches = reply;
    branches.mutable_history()->set_obstacle(why.message);
    call->finish(std::move(branches));
  };
  if (const auto possible = guest.check_replica(); !possible)
    return answer_without(possible.error());
  guest.clone_source(
      [call, reply, answer_without](Result<checkpointer::CloneSource> source) mutable {
        if (!source) return answer_without(source.error());
        const auto history = checkpointer::history_of(*source);
        if (!history) return answer_without(history.error());
        reply.mutable_history()->MergeFrom(to_message((*history)->report(unix_now())));
        call->finish(std::move(reply));
      });
}

Result<CloneOrder> Clones::order_for(const control::CloneRequest& request) const {
  UNDERSTUDY_CHECK(check_gdb(request.gdb()));
  CloneOrder order;
  const auto* known = settings_.find_guest(request.guest());
  if (known != nullptr) order.plan = known->drill();
  if (!request.plan().empty()) {
    UNDERSTUDY_TRY(auto plan, parse_drill(request.plan(), "the probe file"));
    if (plan.address().empty()) {
      plan.set_address(order.plan.address());
      plan.set_from(order.plan.from());
    }
    if (plan.address().empty()) {
      return fail(ErrorKind::invalid,
                  "it is not known where the guest answers; say so in the file of --probe: "
                  "address: \"10.0.0.5/24\"");
    }
    order.plan = std::move(plan);
    order.probes = true;
  }
  const auto at = unix_now();
  order.moment = wish_of(request.moment(), at);
  order.gdb = request.gdb();
  order.directory = settings_.config().state_dir();
  order.info.set_guest(request.guest());
  order.info.set_started_unix_us(unix_us(at));
  return order;
}

void Clones::begin(const std::shared_ptr<ControlCall>& call, GuestHost& guest) {
  if (const auto possible = guest.check_replica(); !possible) return call->fail(possible.error());
  auto order = order_for(call->request().clone());
  if (!order) return call->fail(order.error());
  std::erase_if(clones_, [](const auto& one) { return !one.second.info.ended().empty(); });
  if (clones_.size() >= limits::clones) {
    return call->fail({ErrorKind::limit,
                       fmt::format("{} clones are here; stop one of them first", clones_.size())});
  }
  const auto id = std::to_string(next_++);
  order->info.set_id(id);
  order->info.set_console_log(
      fmt::format("{}/clone-{}.console", settings_.config().state_dir(), id));
  clones_[id] = {order->info, call, nullptr};
  guest.clone_source(
      [this, id, order = std::move(*order)](Result<checkpointer::CloneSource> source) mutable {
        if (stopped_) return;
        if (!source) return ended(id, source.error());
        order.source = std::move(*source);
        order.source.console_log = order.info.console_log();
        start(id, std::move(order));
      });
}

void Clones::start(const std::string& id, CloneOrder order) {
  log::info("clone.started", {log::kv("guest", order.info.guest()), log::kv("id", id)});
  const auto post = [this, id](std::function<void(One&)> work) {
    boost::asio::post(io_, [this, id, work = std::move(work)] {
      const auto found = clones_.find(id);
      if (!stopped_ && found != clones_.end()) work(found->second);
    });
  };
  CloneRunner::Events events;
  events.progress = [post](const std::string& step, double fraction) {
    post([step, fraction](One& one) {
      if (one.call) one.call->progress(step, fraction);
    });
  };
  events.runs = [post](const control::CloneInfo& info) {
    post([info](One& one) {
      one.info = info;
      control::Reply reply;
      *reply.mutable_clone() = info;
      if (const auto call = std::exchange(one.call, nullptr)) call->finish(std::move(reply));
    });
  };
  events.ended = [this, post, id](const Error& why) {
    post([this, id, why](One&) { ended(id, why); });
  };
  clones_[id].runner = std::make_unique<CloneRunner>(std::move(order), std::move(events));
}

void Clones::ended(const std::string& id, const Error& why) {
  auto& one = clones_[id];
  one.runner.reset();
  one.info.set_ended(why.message);
  log::info("clone.ended",
            {log::kv("guest", one.info.guest()), log::kv("id", id), log::kv("why", why.message)});
  // Nobody has been told of it yet: told now, it need not be listed.
  if (const auto call = std::exchange(one.call, nullptr)) {
    clones_.erase(id);
    call->fail(why);
  }
}

void Clones::list(const std::shared_ptr<ControlCall>& call) const {
  control::Reply reply;
  reply.mutable_clones();
  for (const auto& [id, one] : clones_) {
    if (one.call) continue;
    auto& info = *reply.mutable_clones()->add_clone();
    info = one.info;
    if (one.runner) info.set_own_memory_bytes(one.runner->own_memory());
  }
  call->finish(std::move(reply));
}

void Clones::end(const std::shared_ptr<ControlCall>& call) {
  const auto& request = call->request().stop_clone();
  const auto found = clones_.find(request.id());
  if (found == clones_.end() || found->second.info.guest() != request.guest()) {
    return call->fail({ErrorKind::invalid,
                       fmt::format("guest {} has no clone {} here; `understudy clones` lists them",
                                   request.guest(), request.id())});
  }
  if (found->second.call)
    found->second.call->fail({ErrorKind::closed, "it was stopped before it ran"});
  clones_.erase(found);
  call->done(fmt::format("clone {} of guest {} is gone", request.id(), request.guest()));
}

void Clones::stop() {
  stopped_ = true;
  clones_.clear();
}

}  // namespace understudy::failover
