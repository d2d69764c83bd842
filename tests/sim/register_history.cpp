#include "register_history.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>

namespace understudy::sim {

namespace {

constexpr auto never = std::numeric_limits<std::uint64_t>::max();

}  // namespace

/// Of all operations on one value: the first end and the last begin. Where the end comes first, the
/// value was there all the time between (`forward`); else there was a moment at least.
struct RegisterHistory::Zone {
  std::uint64_t written{never};
  std::uint64_t first_end{never};
  std::uint64_t last_begin{};
  bool read{};

  void add(const Call& call) {
    first_end = std::min(first_end, call.ended == 0 ? never : call.ended);
    last_begin = std::max(last_begin, call.begun);
  }
  [[nodiscard]] bool forward() const { return first_end < last_begin; }
  [[nodiscard]] std::uint64_t low() const { return std::min(first_end, last_begin); }
  [[nodiscard]] std::uint64_t high() const { return std::max(first_end, last_begin); }
};

RegisterHistory::Operation RegisterHistory::write_begins(Value value) {
  operations_.push_back({true, ++time_, 0, value});
  return operations_.size() - 1;
}

RegisterHistory::Operation RegisterHistory::read_begins() {
  operations_.push_back({false, ++time_});
  return operations_.size() - 1;
}

void RegisterHistory::write_ends(Operation operation) {
  operations_[operation].ended = ++time_;
}

void RegisterHistory::read_ends(Operation operation, Value value) {
  operations_[operation].ended = ++time_;
  operations_[operation].value = value;
}

/// In the order of their low ends. Nothing: a value was read that was not written by then.
std::optional<std::vector<RegisterHistory::Zone>> RegisterHistory::zones() const {
  std::unordered_map<Value, Zone> by_value;
  by_value[initial] = {0, 0, 0, false};
  for (const auto& call : operations_) {
    if (!call.writes) continue;
    auto& zone = by_value[call.value];
    zone.written = call.begun;
    zone.add(call);
  }
  for (const auto& call : operations_) {
    if (call.writes || call.ended == 0) continue;
    const auto found = by_value.find(call.value);
    if (found == by_value.end() || call.ended < found->second.written) return std::nullopt;
    found->second.read = true;
    found->second.add(call);
  }
  std::vector<Zone> zones;
  for (const auto& [value, zone] : by_value) {
    if (zone.read || zone.first_end != never) zones.push_back(zone);
  }
  std::ranges::sort(zones, {}, &Zone::low);
  return zones;
}

std::string RegisterHistory::complaint() const {
  const auto zones = this->zones();
  if (!zones) return "a client has read what nobody had written";
  std::uint64_t held_until = 0;  // by the last forward zone
  for (const auto& zone : *zones) {
    if (zone.forward() ? zone.low() < held_until : zone.high() < held_until)
      return "the register's clients have seen time go back";
    if (zone.forward()) held_until = zone.high();
  }
  return {};
}

}  // namespace understudy::sim
