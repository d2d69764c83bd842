#include "failover/event_inbox.hpp"

#include <utility>

#include <boost/asio/post.hpp>

#include "config/limits.hpp"

namespace understudy::failover {
namespace {

struct Deliver {
  MembershipEvents& events;
  void operator()(const View& view) const { events.on_view(view); }
  void operator()(const GroupMessage& message) const {
    events.on_message(message.sender, message.bytes);
  }
  void operator()(const Error& reason) const { events.on_lost(reason); }
};

}  // namespace

EventInbox::EventInbox(boost::asio::io_context& io, MembershipEvents& events,
                       std::function<void()> room)
    : io_{io}, events_{&events}, room_{std::move(room)} {}

void EventInbox::push(MembershipEvent event) {
  const std::lock_guard lock{mutex_};
  queue_.push_back(std::move(event));
  if (std::exchange(scheduled_, true)) return;
  boost::asio::post(io_, [self = shared_from_this()] { self->deliver(); });
}

bool EventInbox::full() const {
  const std::lock_guard lock{mutex_};
  return queue_.size() >= limits::membership_incoming;
}

void EventInbox::close() {
  events_ = nullptr;
  room_ = nullptr;
}

void EventInbox::deliver() {
  std::deque<MembershipEvent> events;
  {
    const std::lock_guard lock{mutex_};
    events.swap(queue_);
    scheduled_ = false;
  }
  if (room_ && events.size() >= limits::membership_incoming) room_();
  for (const auto& event : events) {
    if (events_ == nullptr) return;  // an event may close us
    std::visit(Deliver{*events_}, event);
  }
}

}  // namespace understudy::failover
