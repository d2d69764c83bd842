// The port to a network of datagrams between hosts of one segment: DPDK's Ethernet devices, or a
// network in memory for tests. It may lose, repeat, reorder and damage what it carries.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "config/clock.hpp"
#include "config/result.hpp"

namespace understudy::replication {

/// An Ethernet address.
using HostAddress = std::array<std::uint8_t, 6>;

inline constexpr HostAddress every_host{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/// The device's memory for one datagram, without the device's own header. Given back when
/// destroyed, on any thread; the port must outlive it.
class DatagramBuffer {
 public:
  virtual ~DatagramBuffer() = default;
  /// As received; for one to be sent: all the room, DatagramPort::datagram_bytes().
  [[nodiscard]] virtual std::span<std::byte> bytes() = 0;
};

using DatagramPointer = std::unique_ptr<DatagramBuffer>;

/// Called by whoever reads, one thread at a time; must not block.
class DatagramEvents {
 public:
  virtual ~DatagramEvents() = default;
  virtual void on_datagram(const HostAddress& from, DatagramPointer datagram) = 0;
  /// The device went away or came back. What was sent meanwhile is lost.
  virtual void on_carrier(bool up) = 0;
};

struct DatagramCounters {
  std::uint64_t sent;
  std::uint64_t received;
  std::uint64_t missed;  ///< came, and found no room
};

/// All verbs from any thread.
class DatagramPort {
 public:
  virtual ~DatagramPort() = default;

  [[nodiscard]] virtual HostAddress address() const = 0;
  /// What fits one datagram.
  [[nodiscard]] virtual std::size_t datagram_bytes() const = 0;
  /// How many of the largest datagrams may be on their way to this host at once without loss.
  [[nodiscard]] virtual std::size_t receive_room() const = 0;

  /// nullptr: all are in use; some come back soon.
  [[nodiscard]] virtual DatagramPointer allocate() = 0;
  /// Sends the first `bytes` of a buffer that `allocate` gave. It may be lost.
  virtual void send(const HostAddress& to, DatagramPointer datagram, std::size_t bytes) = 0;

  /// Begins to deliver. `events` must outlive `stop`.
  virtual void start(DatagramEvents& events) = 0;
  /// Nothing is delivered after it. Idempotent.
  virtual void stop() = 0;

  [[nodiscard]] virtual DatagramCounters counters() const = 0;

  // Who waits for a datagram had better read it himself: the way from the port's thread to another
  // one is most of a short wait.

  /// True: the caller reads, and nobody else, until it is given back or the port takes it back from
  /// one who does not read. `epoll`, the caller's, is readable while something waits.
  [[nodiscard]] virtual bool lend(int /*epoll*/) { return false; }
  /// Delivers some of what has come, on this thread. False: it is not the caller's any more.
  [[nodiscard]] virtual bool read_lent(int /*epoll*/) { return false; }
  /// Nothing is delivered on this thread after it.
  virtual void give_back(int /*epoll*/) {}
};

}  // namespace understudy::replication
