// When the lost one of two hosts is fenced (made to stop by its power switch), and what of that
// counts. Pure; time is a parameter.
//
// It is fenced if it has left without farewell, a guest cannot go on without it, and this host
// knows all that was decided: one that has just started fences nobody, for it could gain nothing,
// and two of them would shoot each other for ever. What an agent reports counts only if the host
// has not been seen since that agent began: a host that is back was dead, and is not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "failover/record.hpp"

namespace understudy::failover {

class Fencing {
 public:
  struct Policy {
    Duration delay{};      ///< before the first attempt: for who shall lose a race
    unsigned attempts{1};  ///< in a row; then after limits::fencing_retry again
  };
  enum class State : std::uint8_t { idle, waiting, in_progress, succeeded, failed };
  /// One run of the agent.
  using Attempt = std::uint64_t;

  explicit Fencing(Policy policy) : policy_{policy} {}

  /// Call it after each event and tick. A value: run the agent now, then call finished().
  [[nodiscard]] std::optional<Attempt> decide(const RecordBook& book, TimePoint now);
  /// True: the host is dead by this, and the record book is to know.
  [[nodiscard]] bool finished(Attempt attempt, const Result<>& outcome, TimePoint now);
  /// Its outcome is still of interest; else the agent may be ended.
  [[nodiscard]] bool awaits(Attempt attempt) const {
    return state_ == State::in_progress && attempt == attempt_;
  }

  [[nodiscard]] State state() const { return state_; }
  /// Since when it is in this state.
  [[nodiscard]] TimePoint since() const { return since_; }
  [[nodiscard]] unsigned failures() const { return failures_; }
  /// Of the last attempt that failed.
  [[nodiscard]] const std::string& failure() const { return failure_; }

 private:
  void become(State state, TimePoint now);

  const Policy policy_;
  State state_{State::idle};
  TimePoint since_;
  TimePoint next_;
  Attempt attempt_{};
  unsigned failures_{};
  std::string failure_;
};

}  // namespace understudy::failover
