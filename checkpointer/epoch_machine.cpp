#include "checkpointer/epoch_machine.hpp"

#include <utility>

#include "config/assert.hpp"

namespace understudy::checkpointer {

Epoch EpochMachine::seal(TimePoint now) {
  UNDERSTUDY_ASSERT(may_seal(), "epochs in flight are bounded");
  sealed_.push_back({running_, now});
  return std::exchange(running_, running_.next());
}

Result<std::vector<Duration>> EpochMachine::commit(Epoch epoch, TimePoint now) {
  if (epoch >= running_) {
    return fail(ErrorKind::protocol, "the backup acknowledged epoch {}, which is not sealed yet",
                epoch);
  }
  std::vector<Duration> took;
  while (!sealed_.empty() && sealed_.front().epoch <= epoch) {
    took.push_back(now - sealed_.front().at);
    committed_ = sealed_.front().epoch;
    sealed_.pop_front();
  }
  return took;
}

}  // namespace understudy::checkpointer
