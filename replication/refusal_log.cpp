#include "replication/refusal_log.hpp"

#include <utility>

#include "config/log.hpp"

namespace understudy::replication {

void RefusalLog::refused(const std::string& from, const std::string& why) {
  if (budget_.spend(now())) {
    return log::warning("replication.refused", {log::kv("from", from), log::kv("why", why)});
  }
  if (std::exchange(will_tell_, true)) return;
  timer_.expires_at(budget_.renewal());
  timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    will_tell_ = false;
    tell_suppressed();
  });
}

void RefusalLog::tell_suppressed() {
  const auto count = budget_.take_suppressed();
  if (count > 0) log::warning("replication.refused", {log::kv("suppressed", count)});
}

}  // namespace understudy::replication
