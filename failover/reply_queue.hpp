// The replies to one request on their way to a client that may read slowly: of the progress only
// the newest waits. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace understudy::failover {

class ReplyQueue {
 public:
  void progress(std::string bytes) { progress_ = std::move(bytes); }
  /// What still waits of the progress is not sent any more.
  void last(std::string bytes) {
    progress_.reset();
    last_ = std::move(bytes);
  }

  /// What to write now, whole; valid until `written`. nullptr: nothing, or a write is under way.
  [[nodiscard]] const std::string* next() {
    if (writing_) return nullptr;
    writes_last_ = !progress_ && last_;
    writing_ = std::exchange(progress_ ? progress_ : last_, std::nullopt);
    return writing_ ? &*writing_ : nullptr;
  }
  /// That was; whether it was the last.
  [[nodiscard]] bool written() {
    writing_.reset();
    return writes_last_;
  }

 private:
  std::optional<std::string> writing_;
  std::optional<std::string> progress_;
  std::optional<std::string> last_;
  bool writes_last_{};
};

}  // namespace understudy::failover
