// The packets of one guest NIC that wait for the commit of their epoch. Pure.
//
//     oldest                                                                newest
//     | may leave (committed) | sealed epoch 7 | sealed epoch 8 | running epoch |
//                             '- release(7) ->
//
// In order always. All memory is allocated at the start; what does not fit is not taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>

#include <boost/circular_buffer.hpp>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "config/types.hpp"

namespace understudy::netbuffer {

struct HeldPacket {
  std::span<const std::byte> frame;  ///< valid until pop, drop or push
  TimePoint since;
};

class EgressQueue {
 public:
  /// `hold_bytes` at least limits::packet_bytes, so that an empty queue takes any packet.
  explicit EgressQueue(std::size_t hold_bytes, std::size_t hold_packets = limits::hold_packets);

  /// Into the running epoch. False: full, and nothing was taken.
  [[nodiscard]] bool push(std::span<const std::byte> frame, TimePoint when);

  /// The running epoch ends as `epoch`. A number that does not grow begins a new protection: every
  /// held packet belongs to it.
  void seal(Epoch epoch);
  /// Packets of `epoch` and before may leave. One that was not sealed, or an old one, does nothing.
  void release(Epoch epoch);
  void release_all();

  /// The next packet that may leave.
  [[nodiscard]] std::optional<HeldPacket> front() const;
  void pop();
  /// Forgets all packets; returns how many there were.
  std::size_t drop();

  [[nodiscard]] std::size_t packets() const { return entries_.size(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// Three quarters of the room are taken: what can make more packets should be slowed.
  [[nodiscard]] bool nearly_full() const;
  [[nodiscard]] bool running_epoch_empty() const { return sealed_until_ == pushed_; }
  [[nodiscard]] std::optional<TimePoint> oldest() const;

 private:
  struct Entry {
    std::size_t at;
    std::size_t size;
    TimePoint since;
  };
  struct Seal {
    Epoch epoch;
    std::uint64_t until;  // packets before this number belong to the epoch or an earlier one
  };
  [[nodiscard]] std::optional<std::size_t> place(std::size_t size) const;

  std::size_t capacity_;
  std::unique_ptr<std::byte[]> frames_;    // a ring; no packet wraps around its end
  boost::circular_buffer<Entry> entries_;  // oldest first
  std::deque<Seal> seals_;                 // oldest first; only epochs that have packets
  std::size_t bytes_{};
  Epoch sealed_;
  // Packets are numbered from 0 in the order of their arrival.
  std::uint64_t pushed_{};
  std::uint64_t popped_{};
  std::uint64_t sealed_until_{};
  std::uint64_t released_until_{};
};

}  // namespace understudy::netbuffer
