#include "checkpointer/activity_machine.hpp"

#include <algorithm>

#include "config/assert.hpp"

namespace understudy::checkpointer {

void ActivityMachine::begin(std::span<const Extent> extents) {
  for (const auto& one : extents) {
    auto& state = extents_[one];
    ++state.under_way;
    if (!state.logged) unlogged_.insert(one);
  }
}

void ActivityMachine::end(std::span<const Extent> extents, WriteEnd how, TimePoint now) {
  ++moment_;
  for (const auto& one : extents) {
    auto& state = extents_.at(one);
    UNDERSTUDY_ASSERT(state.under_way > 0, "a write ends once");
    --state.under_way;
    state.unknown = state.unknown || how == WriteEnd::unknown;
    state.last = running_;
    state.moment = moment_;
    state.touched = now;
  }
}

bool ActivityMachine::logged(std::span<const Extent> extents) const {
  return std::ranges::all_of(extents, [this](const Extent& one) {
    const auto found = extents_.find(one);
    return found != extents_.end() && found->second.logged;
  });
}

std::vector<Extent> ActivityMachine::unlogged() const {
  return {unlogged_.begin(), unlogged_.end()};
}

void ActivityMachine::now_logged(std::span<const Extent> extents) {
  for (const auto& one : extents) {
    unlogged_.erase(one);
    if (const auto found = extents_.find(one); found != extents_.end()) found->second.logged = true;
  }
}

void ActivityMachine::begin_session() {
  running_ = Epoch{1};
  for (auto& [extent, state] : extents_) {
    state.last = running_;
    state.unknown = false;
  }
}

std::vector<Extent> ActivityMachine::removable(const Safe& safe) const {
  std::vector<Extent> result;
  for (const auto& [extent, state] : extents_) {
    if (state.under_way == 0 && !state.unknown && state.last <= safe.backup &&
        state.moment <= safe.here && state.touched <= safe.cold_before) {
      result.push_back(extent);
    }
  }
  return result;
}

void ActivityMachine::remove(std::span<const Extent> extents) {
  for (const auto& one : extents) {
    extents_.erase(one);
    unlogged_.erase(one);
  }
}

void ActivityMachine::clear() {
  std::erase_if(extents_, [](const auto& one) { return one.second.under_way == 0; });
  unlogged_.clear();
  for (auto& [extent, state] : extents_) {
    state.logged = false;
    unlogged_.insert(extent);
  }
}

void ActivityMachine::restore(std::span<const Extent> extents) {
  for (const auto& one : extents) extents_[one].logged = true;
}

std::vector<Extent> ActivityMachine::marked() const {
  std::vector<Extent> result;
  result.reserve(extents_.size());
  for (const auto& [extent, state] : extents_) result.push_back(extent);
  return result;
}

}  // namespace understudy::checkpointer
