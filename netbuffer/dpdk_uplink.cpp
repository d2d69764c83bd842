#include "netbuffer/dpdk_uplink.hpp"

#include <fcntl.h>
#include <sched.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "config/clock.hpp"
#include "config/dpdk_device.hpp"
#include "config/limits.hpp"
#include "netbuffer/host_interface.hpp"

namespace understudy::netbuffer {
namespace {

constexpr const char* guest_end = "guest";
constexpr std::size_t shortest = 14;         // an Ethernet header
constexpr std::size_t largest_mtu = 65'535;  // of a veth

class DpdkUplink : public Uplink {
 public:
  DpdkUplink(std::unique_ptr<dpdk::Device> device, std::optional<VethPair> cable)
      : cable_{std::move(cable)}, device_{std::move(device)} {}

  Result<> send(std::span<const std::byte> frame) override {
    auto packet = device_->allocate();
    if (!packet) return fail(ErrorKind::limit, "uplink: no packet is free");
    const auto room = packet.bytes();
    if (frame.size() > room.size() || frame.size() < shortest) {
      return fail(ErrorKind::io, "uplink: a frame of {} bytes does not pass", frame.size());
    }
    std::copy(frame.begin(), frame.end(), room.begin());
    if (device_->send(std::move(packet), frame.size()) != dpdk::Device::Sent::no) return {};
    if (device_->carries()) return fail(ErrorKind::limit, "uplink: the device's ring is full");
    return fail(ErrorKind::io, "uplink: no link");
  }

  [[nodiscard]] int fd() const override { return device_->fd(); }

  // One at a time: what the device has given out no longer makes its descriptor readable.
  Result<std::optional<std::size_t>> receive(std::span<std::byte> space) override {
    dpdk::Packet packet;
    if (device_->receive({&packet, 1}) != 0) return take(packet, space);
    const auto settled = device_->settle();
    if (settled == dpdk::Device::Settled::look_again && device_->receive({&packet, 1}) != 0) {
      return take(packet, space);
    }
    if (settled == dpdk::Device::Settled::complained && !device_->exists()) {
      return fail(ErrorKind::closed, "uplink: its interface was removed");
    }
    return std::nullopt;
  }

 private:
  static std::size_t take(const dpdk::Packet& packet, std::span<std::byte> space) {
    const auto frame = packet.bytes();
    const auto size = std::min(frame.size(), space.size());
    std::copy_n(frame.begin(), size, space.begin());
    return size;
  }

  std::optional<VethPair> cable_;  // goes after the device
  std::unique_ptr<dpdk::Device> device_;
};

/// Runs on a thread that is in the namespace, and ends there.
Result<> in_namespace(int network, const std::function<Result<>()>& work) {
  Result<> done;
  std::thread{[&] {
    done = ::setns(network, CLONE_NEWNET) == 0 ? work() : fail_errno("entering its namespace");
  }}.join();
  return done;
}

Result<UniqueFd> make_namespace() {
  Result<UniqueFd> made = UniqueFd{};
  std::thread{[&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      made = errno == EPERM ? fail(ErrorKind::io, "not permitted; the daemon needs CAP_SYS_ADMIN")
                            : fail_errno("making a network namespace");
      return;
    }
    made = UniqueFd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    for (const auto* each : {"all", "default"}) silence_ipv6(each);
  }}.join();
  return made;
}

/// One of a process that was killed goes a moment after it.
Result<VethPair> make_cable(const std::string& name, std::size_t mtu, int network) {
  const auto give_up = now() + limits::stale_interface;
  while (true) {
    auto made = VethPair::make(name, mtu, guest_end, network);
    if (made || made.error().kind != ErrorKind::conflict || now() > give_up) return made;
    std::this_thread::sleep_for(limits::stale_interface / 100);
  }
}

Result<> open_guest_end(std::unique_ptr<dpdk::Device>& device) {
  UNDERSTUDY_CHECK(set_up(guest_end));
  dpdk::DeviceOptions options{};
  options.spec = guest_end;
  options.ring_bytes = limits::uplink_ring_bytes;
  UNDERSTUDY_TRY(device, dpdk::Device::open(options));
  return {};
}

Result<std::unique_ptr<Uplink>> open_on_bridge(const std::string& name, const std::string& bridge,
                                               const MacAddress& mac) {
  UNDERSTUDY_TRY(const auto mtu, mtu_of(bridge));
  UNDERSTUDY_TRY(const auto network, make_namespace());
  UNDERSTUDY_TRY(auto cable, make_cable(name, std::min(mtu, largest_mtu), network.get()));
  UNDERSTUDY_CHECK(refuse_offloads(name));
  UNDERSTUDY_CHECK(join_bridge(name, bridge, wire_mac(mac)));
  std::unique_ptr<dpdk::Device> device;
  UNDERSTUDY_CHECK(in_namespace(network.get(), [&] { return open_guest_end(device); }));
  return std::make_unique<DpdkUplink>(std::move(device), std::move(cable));
}

}  // namespace

Result<std::unique_ptr<Uplink>> open_dpdk_uplink(const std::string& name, const std::string& bridge,
                                                 const MacAddress& mac) {
  UNDERSTUDY_CHECK(check_uplink(name, bridge));
  auto uplink = open_on_bridge(name, bridge, mac);
  if (!uplink) return fail(std::move(uplink).error().within(fmt::format("uplink {}", name)));
  return uplink;
}

Result<std::unique_ptr<Uplink>> open_dpdk_nic(const std::string& device) {
  dpdk::DeviceOptions options{};
  options.spec = device;
  options.ring_bytes = limits::uplink_ring_bytes;
  options.promiscuous = true;
  UNDERSTUDY_TRY(auto opened, dpdk::Device::open(options));
  return std::make_unique<DpdkUplink>(std::move(opened), std::nullopt);
}

}  // namespace understudy::netbuffer
