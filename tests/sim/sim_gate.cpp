#include "sim_gate.hpp"

#include <cstring>
#include <span>

namespace understudy::sim {

void SimGate::rule(Output output) {
  output_ = output;
  if (output == Output::closed) queue_.drop();
  if (output == Output::open) queue_.release_all();
}

bool SimGate::take(const Packet& packet, TimePoint now) {
  if (output_ == Output::closed) return true;
  if (!queue_.push(std::as_bytes(std::span{&packet, 1}), now)) return false;
  if (output_ == Output::open) queue_.release_all();
  return true;
}

std::optional<Packet> SimGate::leaving() {
  const auto held = queue_.front();
  if (!held) return std::nullopt;
  Packet packet;
  std::memcpy(&packet, held->frame.data(), sizeof packet);
  queue_.pop();
  return packet;
}

}  // namespace understudy::sim
