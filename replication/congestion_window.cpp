#include "replication/congestion_window.hpp"

namespace understudy::replication {

void CongestionWindow::on_arrived(std::size_t packets, std::size_t in_flight_before) {
  if (in_flight_before + 1 < packets_) return;
  if (packets_ < slow_start_until_) {
    packets_ += packets;
  } else if (arrived_ += packets; arrived_ >= packets_) {
    arrived_ -= packets_;
    ++packets_;
  }
  packets_ = std::min(packets_, limits::channel_segments);
}

void CongestionWindow::on_lost(PacketNumber lost, PacketNumber next) {
  if (lost < recovering_) return;
  recovering_ = next;
  packets_ = std::max(packets_ * 7 / 10, limits::channel_window_min);
  slow_start_until_ = packets_;
  arrived_ = 0;
}

void CongestionWindow::on_silence() {
  slow_start_until_ = std::max(packets_ / 2, limits::channel_window_min);
  packets_ = limits::channel_window_min;
  arrived_ = 0;
}

void RoundTrip::measured(Duration round_trip, Duration delay) {
  least_ = smoothed_ ? std::min(least_, round_trip) : round_trip;
  // A peer that exaggerates its delay cannot make the way shorter than it was once.
  if (round_trip - delay >= least_) round_trip -= delay;
  if (!smoothed_) {
    smoothed_ = round_trip;
    variation_ = round_trip / 2;
    return;
  }
  const auto difference = std::chrono::abs(*smoothed_ - round_trip);
  variation_ += (difference - variation_) / 4;
  *smoothed_ += (round_trip - *smoothed_) / 8;
}

Duration RoundTrip::patience() const {
  if (!smoothed_) return limits::channel_probe_first;
  const Duration result = *smoothed_ + 4 * variation_ + limits::channel_ack_delay;
  return std::clamp<Duration>(result, limits::channel_probe_min, limits::channel_probe_max);
}

}  // namespace understudy::replication
