#include "failover/hooks/hook_queue.hpp"

#include <algorithm>
#include <utility>

#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::failover {

bool HookQueue::push(control::Event event) {
  waiting_.push_back(std::move(event));
  if (waiting_.size() <= limits::hook_queue) return true;
  if (under_way_) {
    waiting_.erase(std::next(waiting_.begin()));
  } else {
    pop();
  }
  return false;
}

TimePoint HookQueue::due() const {
  return waiting_.empty() || under_way_ ? TimePoint::max() : next_;
}

std::optional<control::Event> HookQueue::begin(TimePoint now) {
  if (due() > now) return std::nullopt;
  under_way_ = true;
  return waiting_.front();
}

void HookQueue::pop() {
  waiting_.pop_front();
  failures_ = 0;
  next_ = {};
}

void HookQueue::succeeded() {
  UNDERSTUDY_ASSERT(std::exchange(under_way_, false), "an attempt was begun");
  pop();
}

bool HookQueue::failed(TimePoint now) {
  UNDERSTUDY_ASSERT(std::exchange(under_way_, false), "an attempt was begun");
  if (failures_++ == retries_) {
    pop();
    return false;
  }
  const auto doublings = std::min(failures_ - 1, 10U);
  next_ = now + std::min<Duration>(limits::hook_retry * (1U << doublings), limits::hook_retry_max);
  return true;
}

}  // namespace understudy::failover
