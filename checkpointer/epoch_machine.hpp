// The life of epochs on the primary: sealed in order, committed in order, a bounded number between.
// Pure: time is a parameter.
#pragma once

#include <deque>
#include <vector>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

class EpochMachine {
 public:
  explicit EpochMachine(std::size_t in_flight_limit) : limit_{in_flight_limit} {}

  /// The epoch in which the guest executes now; the first is 1.
  [[nodiscard]] Epoch running() const { return running_; }
  [[nodiscard]] Epoch committed() const { return committed_; }
  [[nodiscard]] std::size_t in_flight() const { return sealed_.size(); }
  [[nodiscard]] bool may_seal() const { return sealed_.size() < limit_; }

  /// The running epoch ends; the guest will go on in the next one. Needs may_seal().
  Epoch seal(TimePoint now);

  /// The backup holds all epochs up to `epoch`. Yields how long each newly committed one took since
  /// its seal. An epoch that was not sealed is a protocol error; one committed before is not news.
  [[nodiscard]] Result<std::vector<Duration>> commit(Epoch epoch, TimePoint now);

 private:
  struct Sealed {
    Epoch epoch;
    TimePoint at;
  };

  std::size_t limit_;
  Epoch running_{1};
  Epoch committed_{0};
  std::deque<Sealed> sealed_;
};

}  // namespace understudy::checkpointer
