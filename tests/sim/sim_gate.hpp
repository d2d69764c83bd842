// The gate of a guest on a host: the production's queue, moved as GuestNetwork moves it, without a
// wire.
#pragma once

#include <optional>

#include "config/clock.hpp"
#include "config/types.hpp"
#include "failover/guest_role.hpp"
#include "guest_state.hpp"
#include "netbuffer/egress_queue.hpp"

namespace understudy::sim {

class SimGate {
 public:
  using Output = failover::Output;

  explicit SimGate(std::size_t hold_packets) : queue_{limits::packet_bytes, hold_packets} {}

  [[nodiscard]] Output output() const { return output_; }
  void rule(Output output);
  void tighten() {
    if (output_ == Output::open) output_ = Output::holding;
  }
  void seal(Epoch epoch) { queue_.seal(epoch); }
  void release(Epoch epoch) {
    if (output_ == Output::holding) queue_.release(epoch);
  }

  /// False: there is no room, and the guest's NIC waits.
  [[nodiscard]] bool take(const Packet& packet, TimePoint now);
  /// The next packet that leaves.
  [[nodiscard]] std::optional<Packet> leaving();

  [[nodiscard]] bool pressed() const { return queue_.nearly_full(); }
  [[nodiscard]] bool running_epoch_empty() const { return queue_.running_epoch_empty(); }

 private:
  netbuffer::EgressQueue queue_;
  Output output_{Output::closed};
};

}  // namespace understudy::sim
