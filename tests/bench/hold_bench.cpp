// What it costs that a held packet is copied once more: from the queue that holds it into a packet
// of the uplink's device. A device of DPDK that forgets what it is given stands for the network.
//
//   hold_bench
#include <algorithm>
#include <cstdio>
#include <vector>

#include "config/clock.hpp"
#include "config/dpdk_device.hpp"
#include "config/dpdk_runtime.hpp"
#include "config/log.hpp"
#include "netbuffer/egress_queue.hpp"

using namespace understudy;

namespace {

constexpr std::size_t hold_bytes = 8U << 20U;  // hold_limit_kib's default
constexpr std::size_t epoch_packets = 1000;    // held at once
constexpr int epochs = 1000;

double nanoseconds_each(TimePoint begin) {
  return std::chrono::duration<double, std::nano>(now() - begin).count() /
         (epochs * static_cast<double>(epoch_packets));
}

void copy_to(dpdk::Packet& packet, std::span<const std::byte> frame) {
  std::ranges::copy(frame, packet.bytes().begin());
}

/// As guest_network does it.
double copied(dpdk::Device& device, std::span<const std::byte> frame) {
  netbuffer::EgressQueue queue{hold_bytes};
  const auto begin = now();
  for (Epoch epoch{1}; epoch.value() <= epochs; epoch = epoch.next()) {
    for (std::size_t i = 0; i < epoch_packets; ++i) static_cast<void>(queue.push(frame, begin));
    queue.seal(epoch);
    queue.release(epoch);
    while (const auto held = queue.front()) {
      auto packet = device.allocate();
      copy_to(packet, held->frame);
      device.send(std::move(packet), held->frame.size());
      queue.pop();
    }
  }
  return nanoseconds_each(begin);
}

/// The least that any other way could do: from the guest's port into a packet, which waits.
double not_copied(dpdk::Device& device, std::span<const std::byte> frame) {
  std::vector<dpdk::Packet> held(epoch_packets);
  const auto begin = now();
  for (int epoch = 0; epoch < epochs; ++epoch) {
    for (auto& packet : held) {
      packet = device.allocate();
      copy_to(packet, frame);
    }
    for (auto& packet : held) device.send(std::move(packet), frame.size());
  }
  return nanoseconds_each(begin);
}

}  // namespace

int main() {
  log::configure(log::Level::warning, "");
  dpdk::DeviceOptions options{};
  options.spec = "net_null";
  options.packet_bytes = 2 * (epoch_packets + dpdk::burst) * 2048;
  const auto device = dpdk::Device::open(options);
  if (!device) {
    std::fprintf(stderr, "hold_bench: %s\n", device.error().message.c_str());
    return 1;
  }
  std::puts("  bytes    held in a queue    held in packets");
  for (const std::size_t bytes : {66U, 1514U}) {
    const std::vector<std::byte> frame(bytes, std::byte{0x5A});
    for (int round = 0; round < 3; ++round) {
      const auto with = copied(**device, frame);
      std::printf("%7zu %15.0f ns %15.0f ns\n", bytes, with, not_copied(**device, frame));
    }
  }
  return 0;
}
