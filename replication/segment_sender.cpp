#include "replication/segment_sender.hpp"

#include <bit>

#include "config/assert.hpp"

namespace understudy::replication {
namespace {

constexpr int silence_after_probes = 3;

}  // namespace

SegmentSender::SegmentSender(std::size_t segment_bytes, TimePoint at)
    : segment_bytes_{segment_bytes}, said_{at} {
  UNDERSTUDY_ASSERT(segment_bytes_ >= limits::frame_header_bytes, "a frame's header is never cut");
}

bool SegmentSender::accepts() const {
  return !ended_ && messages_unsent_ < limits::link_queue_frames;
}

bool SegmentSender::half_free() const {
  return !ended_ && messages_unsent_ <= limits::link_queue_frames / 2;
}

template <class Make>
void SegmentSender::cut(std::span<const std::byte> message, Make make) {
  UNDERSTUDY_ASSERT(accepts() && !message.empty(), "accepts() was asked");
  for (bool first = true; !message.empty(); first = false) {
    const auto part = message.first(std::min(message.size(), segment_bytes_));
    message = message.subspan(part.size());
    Segment segment = make(part);
    segment.first = first;
    segment.last = message.empty();
    segments_.push_back(std::move(segment));
  }
  ++messages_unsent_;
}

void SegmentSender::send(std::span<const std::byte> message) {
  cut(message, [](std::span<const std::byte> part) { return Segment{.bytes = part}; });
}

void SegmentSender::send_copy(std::span<const std::byte> message) {
  cut(message, [](std::span<const std::byte> part) {
    Segment segment{.copy = {part.begin(), part.end()}};
    segment.bytes = segment.copy;  // stays where it is when the vector moves
    return segment;
  });
}

void SegmentSender::end() {
  if (std::exchange(ended_, true)) return;
  segments_.push_back({.end = true});
}

SegmentSender::Segment* SegmentSender::find(SegmentNumber number) {
  if (number < first_ || number.value() - first_.value() >= segments_.size()) return nullptr;
  return &segments_[number.value() - first_.value()];
}

bool SegmentSender::has_segment() const {
  if (in_flight_ >= window_.packets()) return false;
  return !lost_.empty() || (unsent_ < segments_.size() && unsent() < limit_);
}

SegmentSender::Outgoing SegmentSender::take_segment(PacketNumber number, TimePoint at) {
  UNDERSTUDY_ASSERT(has_segment(), "has_segment() was asked");
  auto sequence = unsent();
  if (!lost_.empty()) {
    sequence = lost_.front();
    lost_.pop_front();
    ++resent_;
  }
  auto& segment = *find(sequence);
  if (segment.state == State::waiting) {
    ++unsent_;
    if (segment.last) --messages_unsent_;
  }
  segment.state = State::flying;
  segment.number = number;
  ++in_flight_;
  sent_.push_back({number, sequence, at});
  said_ = at;
  skip_found();
  return {sequence, segment.first, segment.last, segment.end, segment.bytes};
}

std::optional<TimePoint> SegmentSender::probe_at() const {
  const bool stuck = lost_.empty() && unsent_ < segments_.size() && unsent() >= limit_;
  if (in_flight_ == 0 && !stuck && !asking_) return std::nullopt;
  if (asking_ && probes_.empty()) return said_;
  const auto patience = round_trip_.patience() * (1 << std::min(unanswered_, 6));
  return said_ + std::min<Duration>(patience, limits::channel_probe_max);
}

bool SegmentSender::probe_due(TimePoint at) const {
  const auto due = probe_at();
  return due && at >= *due;
}

void SegmentSender::probed(PacketNumber number, TimePoint at) {
  if (probes_.size() == limits::channel_probes) probes_.pop_front();
  probes_.push_back({number, at});
  said_ = at;
  ++probe_count_;
  if (++unanswered_ == silence_after_probes) window_.on_silence();
}

Result<> SegmentSender::check(const PeerAck& ack, PacketNumber next) const {
  if (ack.acked > unsent()) {
    return fail(ErrorKind::protocol, "the peer acknowledges segment {}, but only {} were sent",
                ack.acked, unsent());
  }
  if (ack.newest >= next) {
    return fail(ErrorKind::protocol, "the peer has seen packet {}, but the next one is {}",
                ack.newest, next);
  }
  if (ack.limit < ack.acked || ack.limit.value() - ack.acked.value() > limits::channel_segments) {
    return fail(ErrorKind::protocol, "the peer holds {} segments and allows {}", ack.acked,
                ack.limit);
  }
  for (std::size_t i = ack.held.size(); i > 0; --i) {
    const auto bits = std::to_integer<std::uint8_t>(ack.held[i - 1]);
    if (bits == 0) continue;
    const auto highest = ack.acked.value() + i * 8 - static_cast<unsigned>(std::countl_zero(bits));
    if (highest < unsent().value()) break;
    return fail(ErrorKind::protocol, "the peer holds segment {}, but only {} were sent", highest,
                unsent());
  }
  return {};
}

Result<> SegmentSender::on_ack(const PeerAck& ack, PacketNumber next, TimePoint at) {
  UNDERSTUDY_CHECK(check(ack, next));
  const auto in_flight_before = in_flight_;
  limit_ = std::max(limit_, ack.limit);
  if (ack.newest > newest_) measure(ack, at);
  const auto arrived = drop_before(ack.acked) + mark_held(ack);
  if (arrived > 0) window_.on_arrived(arrived, in_flight_before);
  find_lost(ack.newest, next);
  skip_found();
  return {};
}

bool SegmentSender::arrived(Segment& segment) {
  if (segment.state == State::arrived) return false;
  if (segment.state == State::flying) --in_flight_;
  segment.state = State::arrived;
  return true;
}

std::size_t SegmentSender::drop_before(SegmentNumber acked) {
  std::size_t count = 0;
  for (; first_ < acked; first_ = first_.next()) {
    if (arrived(segments_.front())) ++count;
    segments_.pop_front();
    --unsent_;
  }
  return count;
}

/// What the peer holds it never drops, so that an old packet's word is still true.
std::size_t SegmentSender::mark_held(const PeerAck& ack) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < ack.held.size() * 8; ++i) {
    if ((std::to_integer<unsigned>(ack.held[i / 8]) >> (i % 8) & 1U) == 0) continue;
    auto* segment = find(SegmentNumber{ack.acked.value() + 1 + i});
    if (segment != nullptr && arrived(*segment)) ++count;
  }
  return count;
}

void SegmentSender::measure(const PeerAck& ack, TimePoint at) {
  newest_ = ack.newest;
  unanswered_ = 0;
  said_ = at;  // the peer lives: patience begins anew
  const auto delay = std::min<Duration>(ack.delay, limits::channel_probe_max);
  const auto sent = std::ranges::lower_bound(sent_, ack.newest, {}, &Sent::number);
  if (sent != sent_.end() && sent->number == ack.newest) {
    round_trip_.measured(at - sent->at, delay);
  }
  const auto probe = std::ranges::find(probes_, ack.newest, &Probe::number);
  if (probe != probes_.end()) round_trip_.measured(at - probe->at, delay);
}

bool SegmentSender::settled(const Sent& sent) {
  const auto* segment = find(sent.segment);
  return segment == nullptr || segment->state != State::flying || segment->number != sent.number;
}

/// `newest` 0: the packet does not say what is missing.
void SegmentSender::find_lost(PacketNumber newest, PacketNumber next) {
  while (!sent_.empty() && settled(sent_.front())) sent_.pop_front();
  if (newest == PacketNumber{}) return;
  auto overtaken = newest.value() - std::min(newest.value(), limits::channel_reordered - 1);
  while (!probes_.empty() && probes_.front().number <= newest) {
    overtaken = std::max(overtaken, probes_.front().number.value());
    probes_.pop_front();
    asking_ = false;
  }
  for (; !sent_.empty() && sent_.front().number.value() < overtaken; sent_.pop_front()) {
    const auto& sent = sent_.front();
    if (settled(sent)) continue;
    find(sent.segment)->state = State::lost;
    --in_flight_;
    lost_.push_back(sent.segment);
    window_.on_lost(sent.number, next);
  }
}

/// So that the first of the lost, if there is one, is really to be sent.
void SegmentSender::skip_found() {
  while (!lost_.empty()) {
    const auto* segment = find(lost_.front());
    if (segment != nullptr && segment->state == State::lost) return;
    lost_.pop_front();
  }
}

}  // namespace understudy::replication
