#include "replication/segment_receiver.hpp"

#include <algorithm>
#include <limits>

#include "config/assert.hpp"

namespace understudy::replication {

SegmentReceiver::SegmentReceiver(std::size_t room) : room_{} {
  set_room(room);
}

void SegmentReceiver::set_room(std::size_t segments) {
  room_ = std::clamp(segments, limits::channel_room_min, limits::channel_segments);
}

SegmentReceiver::Arrival SegmentReceiver::classify(SegmentNumber segment) const {
  if (segment >= limit_) return Arrival::beyond;
  if (segment < expected_ || held_.contains(segment)) return Arrival::repeated;
  return segment == next_ ? Arrival::next : Arrival::early;
}

bool SegmentReceiver::plausible(PacketNumber number) const {
  const auto newest = newest_.value();
  return number.value() > newest - std::min(newest, limits::channel_numbers) &&
         number.value() - std::min(newest, number.value()) <= limits::channel_numbers;
}

void SegmentReceiver::on_packet(PacketNumber number, Wants wants, TimePoint at) {
  if (number > newest_) {
    newest_ = number;
    newest_at_ = at;
  }
  if (wants == Wants::nothing) return;
  const auto most = std::min(limits::channel_ack_packets, room_ / 4);
  const bool now = wants == Wants::ack_now || ++unanswered_ >= most;
  const TimePoint due = now ? at : at + limits::channel_ack_delay;
  ack_at_ = ack_at_ ? std::min(*ack_at_, due) : due;
}

void SegmentReceiver::delivered() {
  UNDERSTUDY_ASSERT(next_ == expected_, "what is held is delivered first");
  next_ = expected_ = next_.next();
  while (held_.contains(expected_)) expected_ = expected_.next();
}

void SegmentReceiver::hold(HeldSegment segment) {
  const auto number = segment.header.sequence;
  UNDERSTUDY_ASSERT(number >= expected_ && number < limit_, "classify was asked");
  held_.emplace(number, std::move(segment));
  while (held_.contains(expected_)) expected_ = expected_.next();
}

std::optional<HeldSegment> SegmentReceiver::take_held() {
  if (next_ == expected_) return std::nullopt;
  auto node = held_.extract(held_.begin());
  next_ = next_.next();
  return std::move(node.mapped());
}

void SegmentReceiver::say(PacketHeader& header, std::vector<std::byte>* held, TimePoint at) {
  limit_ = std::max(limit_, SegmentNumber{next_.value() + room_});
  header.acked = expected_;
  header.limit = limit_;
  if (gap() && held == nullptr) return;
  const auto delay = std::max<Duration::rep>(in_microseconds(at - newest_at_).count(), 0);
  header.newest = newest_;
  header.delay_us = static_cast<std::uint32_t>(
      std::min<Duration::rep>(delay, std::numeric_limits<std::uint32_t>::max()));
  ack_at_.reset();
  unanswered_ = 0;
  if (held == nullptr) return;
  held->clear();
  for (auto entry = held_.upper_bound(expected_); entry != held_.end(); ++entry) {
    const auto bit = entry->first.value() - expected_.value() - 1;
    held->resize(bit / 8 + 1);
    (*held)[bit / 8] |= static_cast<std::byte>(1U << (bit % 8));
  }
}

}  // namespace understudy::replication
