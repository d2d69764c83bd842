#include "failover/asked_switchover.hpp"

#include "config/log.hpp"
#include "failover/real_drill.hpp"

namespace understudy::failover {

void ask_for_guest(const GuestHost::Daemon& daemon, const std::string& guest) {
  if (!daemon.book.view()) return;
  auto message = daemon.book.message();
  message.mutable_switch_over()->set_guest(guest);
  message.mutable_switch_over()->set_term(daemon.book.decided(guest).term.value());
  daemon.send(message);
}

void switch_over_for(const GuestHost::Daemon& daemon, GuestHost& guest, NodeId asker,
                     const peer::SwitchOverRequest& request) {
  log::info("switchover.asked", {log::kv("guest", request.guest()), log::kv("by", asker)});
  control::Request order;
  order.mutable_switch_over()->set_guest(request.guest());
  const auto call = make_order(std::move(order), [&daemon, request](const control::Reply& reply) {
    if (!daemon.book.view()) return;
    auto message = daemon.book.message();
    auto& answer = *message.mutable_switch_over_answer();
    answer.set_guest(request.guest());
    answer.set_term(request.term());
    answer.set_error(reply.error().message());
    answer.set_stood_still_us(reply.done().stood_still_us());
    daemon.send(message);
  });
  const auto record = daemon.book.decided(request.guest());
  if (const auto may = may_have(record, daemon.settings.this_node(), asker, request); !may)
    return call->fail(may.error());
  guest.switch_over(call);
}

}  // namespace understudy::failover
