// Things that happened, of one kind, the newest first: each once, and which of them the others have
// yet to be told. Pure.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "failover/control.pb.h"

namespace understudy::failover {

[[nodiscard]] inline std::string key_of(const control::Event& event) {
  return event.id();
}
/// Two hosts may begin drills of one guest in the same second.
[[nodiscard]] inline std::string key_of(const control::DrillReport& drill) {
  return drill.host() + "/" + drill.id();
}
[[nodiscard]] inline std::uint64_t moment_of(const control::Event& event) {
  return event.at_unix_us();
}
[[nodiscard]] inline std::uint64_t moment_of(const control::DrillReport& drill) {
  return drill.started_unix_us();
}

enum class ToldBy : std::uint8_t {
  here,      ///< not yet told
  its_host,  ///< the host on which it was: its word is the best
  another,
};

template <typename Item>
class ToldLog {
 public:
  explicit ToldLog(std::size_t room) : room_{room} {}

  /// What is known already stays as it is, unless its host says otherwise. What somebody else says
  /// need not be told once more.
  void add(Item item, ToldBy by) {
    const auto known = std::ranges::find(entries_, key_of(item),
                                         [](const Entry& one) { return key_of(one.item); });
    if (known != entries_.end()) {
      known->due &= by == ToldBy::here;
      if (by != ToldBy::its_host) return;
      entries_.erase(known);
    }
    const auto place =
        std::ranges::lower_bound(entries_, moment_of(item), std::ranges::greater{},
                                 [](const Entry& one) { return moment_of(one.item); });
    entries_.insert(place, {std::move(item), by == ToldBy::here});
    if (entries_.size() > room_) entries_.pop_back();
  }

  /// Somebody may not know what was told before.
  void tell_again() {
    for (auto& one : entries_) one.due = true;
  }

  /// `tell` for what is due and was until then, the newest first, until it says that there is no
  /// room for one.
  void tell(std::uint64_t until_us, const auto& tell) {
    for (auto& one : entries_) {
      if (!one.due || moment_of(one.item) > until_us) continue;
      if (!tell(one.item)) return;
      one.due = false;
    }
  }

  void keep_between(std::uint64_t from_us, std::uint64_t until_us) {
    std::erase_if(entries_, [&](const Entry& one) {
      return moment_of(one.item) < from_us || moment_of(one.item) > until_us;
    });
  }

  void each(const auto& look) const {
    for (const auto& one : entries_) look(one.item);
  }

 private:
  struct Entry {
    Item item;
    bool due{};
  };

  const std::size_t room_;
  std::vector<Entry> entries_;  ///< the newest first
};

}  // namespace understudy::failover
