#include "replication/line_budget.hpp"

#include <utility>

namespace understudy::replication {

bool LineBudget::spend(TimePoint at) {
  if (spent_ == 0 || at >= renewal()) {
    begun_ = at;
    spent_ = 0;
  }
  if (spent_ == lines_) {
    ++suppressed_;
    return false;
  }
  ++spent_;
  return true;
}

std::uint64_t LineBudget::take_suppressed() {
  return std::exchange(suppressed_, 0);
}

}  // namespace understudy::replication
