#include "replication/connection_table.hpp"

#include <algorithm>

#include "config/limits.hpp"

namespace understudy::replication {

ConnectionPlace::~ConnectionPlace() {
  table_.close(key_, std::move(farewell_));
}

std::size_t ConnectionPlace::room() const {
  return table_.room();
}

void ConnectionPlace::settle() {
  table_.settle(key_);
}

std::size_t ConnectionTable::most_half_open(Opening opening) const {
  return opening == Opening::unvouched ? unvouched_ : limits::greeting_connections;
}

std::unique_ptr<ConnectionPlace> ConnectionTable::open(const ConnectionKey& key, Opening opening) {
  const std::lock_guard lock{mutex_};
  const bool counts = opening != Opening::ours;
  if (counts && half_open(opening) >= most_half_open(opening)) return nullptr;
  // Twice what may come, for acks and probes: one peer must not take all of the device's memory.
  auto inbox = std::make_shared<DatagramInbox>(
      std::min(2 * std::max(room_, limits::channel_first_segments), limits::inbox_datagrams));
  if (!entries_.try_emplace(key, Entry{inbox, opening, counts}).second) return nullptr;
  half_open(opening) += counts ? 1 : 0;
  return std::make_unique<ConnectionPlace>(*this, key, opening, std::move(inbox));
}

std::shared_ptr<DatagramInbox> ConnectionTable::find(const ConnectionKey& key) const {
  const std::lock_guard lock{mutex_};
  const auto entry = entries_.find(key);
  return entry == entries_.end() ? nullptr : entry->second.inbox;
}

std::optional<DatagramMachine::Farewell> ConnectionTable::farewell(const ConnectionKey& key) const {
  const std::lock_guard lock{mutex_};
  const auto found =
      std::ranges::find(farewells_, key, [](const auto& entry) { return entry.first; });
  if (found == farewells_.end()) return std::nullopt;
  return found->second;
}

void ConnectionTable::settle(const ConnectionKey& key) {
  const std::lock_guard lock{mutex_};
  const auto entry = entries_.find(key);
  if (entry == entries_.end() || !std::exchange(entry->second.half_open, false)) return;
  --half_open(entry->second.opening);
}

void ConnectionTable::close(const ConnectionKey& key, DatagramMachine::Farewell farewell) {
  const std::lock_guard lock{mutex_};
  const auto entry = entries_.find(key);
  if (entry->second.half_open) --half_open(entry->second.opening);
  entries_.erase(entry);
  if (farewell.empty()) return;
  if (farewells_.size() == limits::farewells) farewells_.pop_front();
  farewells_.emplace_back(key, std::move(farewell));
}

std::size_t ConnectionTable::room() const {
  const std::lock_guard lock{mutex_};
  return std::max(room_ / std::max<std::size_t>(entries_.size(), 1), limits::channel_room_min);
}

}  // namespace understudy::replication
