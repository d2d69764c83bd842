// An Ethernet device that is driven by DPDK: one queue each way, packets in its own memory. Besides
// it, only dpdk_runtime and netbuffer/vhost_port include DPDK's headers. Sources: the DPDK
// 22.11 Programmer's Guide (Poll Mode Driver, Mbuf, Mempool), its AF_PACKET driver's guide and
// source, packet(7).
//
// None of the drivers for virtual devices has interrupts, yet every device here has a descriptor to
// sleep on: the AF_PACKET driver's socket, the interrupt of a NIC, and failing both a timer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "config/dpdk_spec.hpp"
#include "config/result.hpp"

struct rte_mbuf;

namespace understudy::dpdk {

/// One frame in a device's memory. Given back when destroyed, on any thread; the device must
/// outlive it.
class Packet {
 public:
  Packet() = default;
  explicit Packet(rte_mbuf* mbuf) : mbuf_{mbuf} {}
  Packet(Packet&& other) noexcept : mbuf_{std::exchange(other.mbuf_, nullptr)} {}
  Packet& operator=(Packet&& other) noexcept {
    std::swap(mbuf_, other.mbuf_);
    return *this;
  }
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;
  ~Packet() { reset(); }

  [[nodiscard]] explicit operator bool() const { return mbuf_ != nullptr; }
  /// The frame, from its Ethernet header on; for one to be sent: Device::frame_bytes().
  [[nodiscard]] std::span<std::byte> bytes() const;
  void reset();

 private:
  friend class Device;
  rte_mbuf* mbuf_{};
};

struct DeviceOptions {
  std::string spec;                   ///< as parse_device takes it
  std::size_t ring_bytes{1U << 20U};  ///< each way, where it is a Linux interface
  /// Memory for what is taken from it and not given back; half as much for what is allocated and
  /// not sent.
  std::size_t packet_bytes{256U << 10U};
  std::size_t mtu{1500};                    ///< of a NIC without a Linux interface that tells
  std::optional<std::uint16_t> ether_type;  ///< others stay away, where the kernel can see to it
  bool promiscuous{false};                  ///< a NIC takes frames for every address
};

struct DeviceCounters {
  std::uint64_t sent;
  std::uint64_t received;
  std::uint64_t missed;    ///< the ring was full when they came
  std::uint64_t not_sent;  ///< the device did not take them
};

inline constexpr std::size_t burst = 32;

class Device {
 public:
  /// Of the namespace in which the calling thread is. Errors name the device and the remedy.
  [[nodiscard]] static Result<std::unique_ptr<Device>> open(const DeviceOptions& options);
  /// All packets must have come back.
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] std::array<std::uint8_t, 6> address() const { return address_; }
  /// The largest frame, Ethernet header included, that passes both ways.
  [[nodiscard]] std::size_t frame_bytes() const { return frame_bytes_; }
  /// How many frames may come before `receive` is called.
  [[nodiscard]] std::size_t receive_slots() const { return receive_slots_; }

  // --- any thread
  /// Empty: all are in use.
  [[nodiscard]] Packet allocate();
  enum class Sent : std::uint8_t {
    whole,  ///< as far as can be told
    stuck,  ///< the device has it, and needs `kick` later
    no,     ///< no room, too long, or the link is down
  };
  /// Sends the first `bytes` (14 to frame_bytes()), at once, on the calling thread.
  Sent send(Packet packet, std::size_t bytes);
  /// Makes the device go on with what is stuck.
  Sent kick();
  [[nodiscard]] DeviceCounters counters() const;
  /// Whether something could arrive.
  [[nodiscard]] bool carries() const;
  /// False: its interface was removed; nothing can bring this device back.
  [[nodiscard]] bool exists() const;

  // --- one thread at a time
  /// How many frames were put into `space`, of which `burst` at most is used.
  [[nodiscard]] std::size_t receive(std::span<Packet> space);
  /// Whether a frame could be received, had the device room for it: else all its packets are in
  /// use.
  [[nodiscard]] bool has_room() const;
  /// To be polled for reading, level-triggered.
  [[nodiscard]] int fd() const;
  /// Whether that needs no `settle` to tell again.
  [[nodiscard]] bool tells_by_itself() const;
  enum class Settled : std::uint8_t {
    quiet,       ///< `fd()` will tell
    look_again,  ///< too, but something may have come meanwhile
    complained,  ///< as quiet; the interface went down, or away
  };
  /// After `receive` found nothing and before sleeping on `fd()`: makes that quiet until there is
  /// something.
  [[nodiscard]] Settled settle();
  /// Readable when `carries()` may have changed; -1: it must be asked now and then.
  [[nodiscard]] int carrier_fd() const;
  void settle_carrier();

 private:
  Device() = default;
  struct Parts;
  [[nodiscard]] Result<> make(const DeviceSpec& spec, const DeviceOptions& options);
  [[nodiscard]] Result<> attach(const DeviceSpec& spec, const DeviceOptions& options);
  [[nodiscard]] Result<> bring_up(const DeviceOptions& options);
  [[nodiscard]] Result<> find_fd(const DeviceOptions& options);

  std::unique_ptr<Parts> parts_;
  std::array<std::uint8_t, 6> address_{};
  std::size_t frame_bytes_{};
  std::size_t receive_slots_{};
};

}  // namespace understudy::dpdk
