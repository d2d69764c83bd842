#include "failover/drain.hpp"

#include <utility>

#include <fmt/ranges.h>

#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::failover {
namespace {

constexpr std::string_view yes = "drained";

}  // namespace

Drain::Drain(const Settings& settings, Guests guests, EndSession end_session)
    : host_{settings.this_host().name()},
      guests_{std::move(guests)},
      end_session_{std::move(end_session)},
      file_{settings.config().state_dir() + "/drained", "understudy drained 1",
            limits::drain_file_bytes} {
  const auto known = file_.load();
  // One that cannot be read was written: better empty than taken by surprise.
  drained_ = !known || (*known && **known == yes);
}

Error Drain::refusal() const {
  return {ErrorKind::conflict,
          fmt::format("host {0} is drained; `understudy undrain {0}` there ends that", host_)};
}

Result<> Drain::remember(bool drained) {
  UNDERSTUDY_CHECK(file_.save(drained ? yes : std::string_view{}));
  drained_ = drained;
  log::info(drained ? "host.drained" : "host.undrained");
  return {};
}

void Drain::begin(std::shared_ptr<ControlCall> call) {
  if (call_) return call->fail({ErrorKind::conflict, "this host is being drained already"});
  if (const auto kept = remember(true); !kept) return call->fail(kept.error());
  call_ = std::move(call);
  troubles_.clear();
  left_at_first_ = 0;
  patience_ends_ = now() + limits::drain_patience;
}

void Drain::end(const std::shared_ptr<ControlCall>& call) {
  if (const auto kept = remember(false); !kept) return call->fail(kept.error());
  if (call_) std::exchange(call_, nullptr)->fail({ErrorKind::closed, "the drain was ended"});
  call->done(fmt::format("host {} takes guests and replicas again", host_));
}

void Drain::tick() {
  if (!drained_) return;
  const auto left = push_out();
  if (!call_) return;
  left_at_first_ = std::max(left_at_first_, left.size());
  if (left.empty() || (now() > patience_ends_ && moving_.empty())) return answer(left);
  call_->progress(fmt::format("{} to go: {}", left.size(), left.front()),
                  1 - static_cast<double>(left.size()) / static_cast<double>(left_at_first_));
}

std::vector<std::string> Drain::push_out() {
  std::vector<std::string> left;
  for (auto* one : guests_()) {
    const auto guest = one->outline();
    const auto& name = guest.name();
    if (!one->is_here()) continue;
    if (guest.active_host() != host_) {
      left.push_back(fmt::format("replica of {}", name));
      end_session_(name, refusal().message);
      continue;
    }
    if (guest.state() == control::SYNCHRONISING) patience_ends_ = now() + limits::drain_patience;
    const auto trouble = troubles_.find(name);
    left.push_back(fmt::format("guest {}{}", name,
                               trouble != troubles_.end() ? ": " + trouble->second
                               : guest.state() != control::PROTECTED
                                   ? ": it has no backup that could run it"
                                   : ""));
    const bool may_move = call_ && moving_.empty() && trouble == troubles_.end();
    if (may_move && guest.state() == control::PROTECTED) move(*one, name);
  }
  return left;
}

void Drain::move(GuestHost& guest, const std::string& name) {
  moving_ = name;
  control::Request order;
  order.mutable_switch_over()->set_guest(name);
  guest.switch_over(make_order(std::move(order), [this, name](const control::Reply& reply) {
    moving_.clear();
    if (reply.has_error()) troubles_[name] = reply.error().message();
    log::info("drain.moved", {log::kv("guest", name),
                              log::kv("outcome", reply.has_error() ? reply.error().message()
                                                                   : reply.done().message())});
  }));
}

void Drain::answer(const std::vector<std::string>& left) {
  const auto call = std::exchange(call_, nullptr);
  if (left.empty()) {
    return call->done(fmt::format(
        "host {} is empty, and takes nothing until `understudy undrain {}`", host_, host_));
  }
  call->fail({ErrorKind::unavailable,
              fmt::format("host {} takes nothing new, but is not empty: {}. Stop what stays, or "
                          "protect it to another host and drain again",
                          host_, fmt::join(left, "; "))});
}

}  // namespace understudy::failover
