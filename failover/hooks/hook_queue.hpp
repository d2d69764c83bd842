// The events that wait for one hook, and when the first of them is tried (again). Pure.
#pragma once

#include <deque>
#include <optional>

#include "config/clock.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

/// One attempt at a time, in order. When too many wait, the oldest that is not under way is
/// forgotten: the newest tell what is.
class HookQueue {
 public:
  explicit HookQueue(std::uint32_t retries) : retries_{retries} {}

  /// False: another one was forgotten for it.
  [[nodiscard]] bool push(control::Event event);
  /// What to try now; then say how it went. nullopt: nothing, until due().
  [[nodiscard]] std::optional<control::Event> begin(TimePoint now);
  /// When there will be something to begin; max(): not by itself.
  [[nodiscard]] TimePoint due() const;

  void succeeded();
  /// False: that was its last attempt, and it is given up.
  [[nodiscard]] bool failed(TimePoint now);

  [[nodiscard]] std::size_t size() const { return waiting_.size(); }

 private:
  void pop();

  const std::uint32_t retries_;
  std::deque<control::Event> waiting_;
  bool under_way_{};
  std::uint32_t failures_{};  ///< of the first
  TimePoint next_{};
};

}  // namespace understudy::failover
