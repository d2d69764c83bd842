// What a membership's worker thread hands to the io_context's thread: in order, bounded, and none
// after close().
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "failover/membership.hpp"

namespace understudy::failover {

struct GroupMessage {
  NodeId sender;
  std::vector<std::byte> bytes;
};
using MembershipEvent = std::variant<View, GroupMessage, Error>;

class EventInbox : public std::enable_shared_from_this<EventInbox> {
 public:
  /// `room` is called on the io_context's thread when a full inbox has been emptied.
  EventInbox(boost::asio::io_context& io, MembershipEvents& events, std::function<void()> room);

  /// Worker's thread. Never refuses: a full inbox is the worker's reason to read no more messages.
  void push(MembershipEvent event);
  [[nodiscard]] bool full() const;

  /// The io_context's thread, also from inside an event.
  void close();

 private:
  void deliver();

  boost::asio::io_context& io_;
  MembershipEvents* events_;  ///< the io_context's thread; nullptr when closed
  std::function<void()> room_;
  mutable std::mutex mutex_;
  std::deque<MembershipEvent> queue_;
  bool scheduled_{};
};

}  // namespace understudy::failover
