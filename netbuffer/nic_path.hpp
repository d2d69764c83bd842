// One guest NIC's two ways: from the guest's port through the egress queue to the uplink, and from
// the uplink to the port. Moves bytes when told and decides nothing about epochs; not
// thread-safe: GuestNetwork's lock guards it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "config/clock.hpp"
#include "netbuffer/egress_queue.hpp"
#include "netbuffer/guest_port.hpp"
#include "netbuffer/hold_times.hpp"
#include "netbuffer/mac_address.hpp"
#include "netbuffer/output_gate.hpp"
#include "netbuffer/uplink.hpp"

namespace understudy::netbuffer {

struct NicCounters {
  std::uint64_t released_packets;
  std::uint64_t egress_dropped;
  std::uint64_t ingress_packets;
  std::uint64_t ingress_dropped;
  std::uint64_t ingress_cut;
  std::uint64_t full;
};

class NicPath {
 public:
  /// How much of what the guest has sent `take_egress` takes.
  enum class Amount : std::uint8_t {
    one_read,  ///< leaves time for others
    all,       ///< until the port is dry or the queue is full; the guest is paused
    none,      ///< only what has been read before
  };

  NicPath(std::unique_ptr<GuestPort> guest, const MacAddress& mac, std::unique_ptr<Uplink> uplink,
          std::size_t hold_bytes);

  /// Takes frames from the guest, as the gate is: into the queue, to the uplink, or away.
  void take_egress(GateState gate, Amount amount, TimePoint when);
  /// QEMU's end is closed. Notes it even while a stalled NIC is not read.
  void hung_up();
  /// Sends what `queue()` lets go, as far as the uplink has room.
  void send_released(TimePoint when, HoldTimes& times);
  void drop_held();
  void announce();

  /// Gives frames from the uplink to the guest, at most limits::ingress_batch.
  void take_ingress(GateState gate);
  /// A frame from elsewhere: in turn, as soon as the guest's NIC takes it.
  void give_again(GateState gate, std::span<const std::byte> frame);
  void give_waiting(GateState gate);
  /// What was given in the running epoch since the last call, while holding, as far as
  /// limits::input_copy_bytes allow.
  [[nodiscard]] std::vector<std::vector<std::byte>> take_copies();
  /// The packets so far belong to `epoch`.
  void seal(Epoch epoch);
  /// Gives the rest of a frame that the guest has in part.
  void finish_ingress(GateState gate);

  /// What epoll should watch for; nothing when the other end is gone.
  [[nodiscard]] std::optional<std::uint32_t> guest_interest(GateState gate) const;
  [[nodiscard]] std::optional<std::uint32_t> uplink_interest(GateState gate) const;
  [[nodiscard]] int guest_fd() const { return guest_->fd(); }
  [[nodiscard]] int uplink_fd() const { return uplink_->fd(); }

  /// While holding: the packets' room is used up, or nearly.
  [[nodiscard]] bool pressed() const { return stalled_ || queue_.nearly_full(); }
  /// The running epoch has output that fills it.
  [[nodiscard]] bool presses() const {
    return pressed() && (stalled_ || !queue_.running_epoch_empty());
  }
  /// The uplink had no room: `send_released` or `take_egress` again, a little later.
  [[nodiscard]] bool uplink_full() const { return uplink_full_; }

  [[nodiscard]] EgressQueue& queue() { return queue_; }
  [[nodiscard]] const EgressQueue& queue() const { return queue_; }
  [[nodiscard]] const NicCounters& counters() const { return counters_; }
  /// Why nothing more comes from the guest.
  [[nodiscard]] const std::optional<Error>& gone() const { return gone_; }

 private:
  void give(GateState gate, std::span<const std::byte> frame);
  void deliver_taken(GateState gate, TimePoint when);
  [[nodiscard]] bool deliver(GateState gate, std::span<const std::byte> frame, TimePoint when);
  [[nodiscard]] bool read_more();
  [[nodiscard]] bool send(std::span<const std::byte> frame);
  /// Whether frames for the guest stay at the uplink for now.
  [[nodiscard]] bool ingress_waits(GateState gate) const;

  std::unique_ptr<GuestPort> guest_;
  MacAddress mac_;
  std::unique_ptr<Uplink> uplink_;
  EgressQueue queue_;
  std::unique_ptr<std::byte[]> ingress_;  // limits::packet_bytes
  NicCounters counters_{};
  std::vector<std::vector<std::byte>> copies_;
  std::size_t copied_bytes_{};                // in the running epoch
  std::deque<std::vector<std::byte>> again_;  // as much as a backup keeps: limits::input_kept_bytes
  std::optional<Error> gone_;
  bool stalled_{false};  // a frame waits for room in the queue or the uplink
  bool uplink_full_{false};
  bool uplink_lost_{false};
};

}  // namespace understudy::netbuffer
