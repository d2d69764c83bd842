#include "netbuffer/egress_queue.hpp"

#include <algorithm>

#include "config/assert.hpp"

namespace understudy::netbuffer {

EgressQueue::EgressQueue(std::size_t hold_bytes, std::size_t hold_packets)
    : capacity_{hold_bytes},
      frames_{std::make_unique_for_overwrite<std::byte[]>(hold_bytes)},
      entries_{hold_packets} {
  UNDERSTUDY_ASSERT(hold_bytes >= limits::packet_bytes, "an empty queue takes any packet");
  UNDERSTUDY_ASSERT(hold_packets > 0, "an empty queue takes any packet");
}

/// Where a frame goes: behind the newest, or at the start when it does not fit there.
std::optional<std::size_t> EgressQueue::place(std::size_t size) const {
  if (entries_.full()) return std::nullopt;
  if (entries_.empty()) return size <= capacity_ ? std::optional<std::size_t>{0} : std::nullopt;
  const auto first = entries_.front().at;
  const auto next = entries_.back().at + entries_.back().size;
  const bool wrapped = entries_.back().at < first;
  const auto limit = wrapped ? first : capacity_;
  if (limit - next >= size) return next;
  if (!wrapped && first >= size) return 0;
  return std::nullopt;
}

bool EgressQueue::push(std::span<const std::byte> frame, TimePoint when) {
  UNDERSTUDY_ASSERT(!frame.empty(), "a packet has bytes");
  const auto at = place(frame.size());
  if (!at) return false;
  std::copy(frame.begin(), frame.end(), frames_.get() + *at);
  entries_.push_back({*at, frame.size(), when});
  bytes_ += frame.size();
  ++pushed_;
  return true;
}

void EgressQueue::seal(Epoch epoch) {
  if (epoch <= sealed_) {
    seals_.clear();
    sealed_until_ = released_until_;
  }
  sealed_ = epoch;
  if (sealed_until_ == pushed_) return;
  seals_.push_back({epoch, pushed_});
  sealed_until_ = pushed_;
}

void EgressQueue::release(Epoch epoch) {
  if (epoch > sealed_) return;
  while (!seals_.empty() && seals_.front().epoch <= epoch) {
    released_until_ = seals_.front().until;
    seals_.pop_front();
  }
}

void EgressQueue::release_all() {
  seals_.clear();
  sealed_until_ = pushed_;
  released_until_ = pushed_;
}

std::optional<HeldPacket> EgressQueue::front() const {
  if (popped_ == released_until_) return std::nullopt;
  const auto& entry = entries_.front();
  return HeldPacket{{frames_.get() + entry.at, entry.size}, entry.since};
}

void EgressQueue::pop() {
  UNDERSTUDY_ASSERT(popped_ < released_until_, "only a released packet leaves");
  bytes_ -= entries_.front().size;
  entries_.pop_front();
  ++popped_;
}

std::size_t EgressQueue::drop() {
  const auto dropped = entries_.size();
  entries_.clear();
  release_all();
  popped_ = pushed_;
  bytes_ = 0;
  return dropped;
}

bool EgressQueue::nearly_full() const {
  return bytes_ >= capacity_ / 4 * 3 || entries_.size() >= entries_.capacity() / 4 * 3;
}

std::optional<TimePoint> EgressQueue::oldest() const {
  if (entries_.empty()) return std::nullopt;
  return entries_.front().since;
}

}  // namespace understudy::netbuffer
