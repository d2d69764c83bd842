#include "config/dpdk_device.hpp"

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <set>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "config/assert.hpp"
#include "config/dpdk_runtime.hpp"
#include "config/limits.hpp"
#include "config/link_watch.hpp"
#include "config/network_interface.hpp"
#include "config/unique_fd.hpp"

namespace understudy::dpdk {
namespace {

// DPDK's list of devices is the process's; and the driver's socket is found by what has come.
std::mutex devices_mutex;
std::size_t devices_made = 0;

constexpr auto any_socket = static_cast<unsigned>(SOCKET_ID_ANY);
constexpr std::uint16_t descriptors = 512;  // of a NIC; a driver for a Linux interface has its own

std::string reason(int code) {
  return ::rte_strerror(code < 0 ? -code : rte_errno);
}

std::size_t mtu_of(const std::string& interface) {
  const UniqueFd control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  auto request = interface_request(interface);
  // SAFETY: reads and writes an ifreq.
  const int got = ::ioctl(control.get(), SIOCGIFMTU, &request);
  return got == 0 && request.ifr_mtu > 0 ? static_cast<std::size_t>(request.ifr_mtu) : 1500;
}

std::set<int> open_descriptors() {
  std::set<int> found;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", gone}) {
    found.insert(std::atoi(entry.path().filename().c_str()));
  }
  return found;
}

bool is_packet_socket(int fd, unsigned interface) {
  int domain{};
  socklen_t size = sizeof domain;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_PACKET) {
    return false;
  }
  sockaddr_ll bound{};
  size = sizeof bound;
  // SAFETY: getsockname fills a sockaddr_ll through the general type.
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0 &&
         bound.sll_ifindex == static_cast<int>(interface);
}

/// The kernel then copies no other frames, and wakes nobody for them.
Result<> admit_only(int fd, std::uint16_t ether_type) {
  std::array<sock_filter, 4> program{sock_filter{BPF_LD | BPF_H | BPF_ABS, 0, 0, 12},
                                     sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, ether_type},
                                     sock_filter{BPF_RET | BPF_K, 0, 0, 0x40000},
                                     sock_filter{BPF_RET | BPF_K, 0, 0, 0}};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return fail_errno("filtering its frames");
  }
  return {};
}

/// Free of locks: who was interrupted while it takes a packet keeps nobody else waiting, whatever
/// their priorities. A pool's own ring would let a real-time thread spin.
Result<rte_mempool*> make_pool(const std::string& name, std::size_t packets, std::size_t room) {
  auto* pool = ::rte_pktmbuf_pool_create_by_ops(
      name.c_str(), static_cast<unsigned>(packets), 0, 0,
      static_cast<std::uint16_t>(room + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY, "lf_stack");
  if (pool != nullptr) return pool;
  return fail(ErrorKind::limit, "no memory for {} packets of {} bytes ({}); raise dpdk.memory_mib",
              packets, room, ::rte_strerror(rte_errno));
}

}  // namespace

std::span<std::byte> Packet::bytes() const {
  // SAFETY: an mbuf of one segment holds data_len bytes there.
  return {rte_pktmbuf_mtod(mbuf_, std::byte*), mbuf_->data_len};
}

void Packet::reset() {
  if (mbuf_ != nullptr) rte_pktmbuf_free(std::exchange(mbuf_, nullptr));
}

/// What DPDK and the kernel hold for the device.
struct Device::Parts {
  Parts() = default;
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts();

  std::string bus;
  std::string name;       ///< DPDK's; empty: not attached
  unsigned interface {};  ///< of Linux; 0: not one
  bool started{};
  std::uint16_t port{};
  rte_mempool* receive_pool{};
  rte_mempool* send_pool{};
  std::size_t room{};
  std::optional<PacketRing> ring;
  std::optional<LinkWatch> watch;

  int socket{-1};     ///< the driver's
  int interrupt{-1};  ///< the driver's
  UniqueFd timer;

  std::mutex send_mutex;
  std::atomic<std::uint64_t> sent{};
  std::atomic<std::uint64_t> not_sent{};
  std::atomic<std::uint64_t> received{};
  std::atomic<std::uint64_t> strange{};
  std::mutex missed_mutex;
  std::uint64_t missed{};
};

Device::Parts::~Parts() {
  const std::lock_guard lock{devices_mutex};
  if (started) ::rte_eth_dev_stop(port);
  if (!name.empty()) {
    ::rte_eth_dev_close(port);
    ::rte_eal_hotplug_remove(bus.c_str(), name.c_str());
  }
  for (auto* pool : {receive_pool, send_pool}) {
    if (pool == nullptr) continue;
    const bool whole = rte_mempool_full(pool) == 1;
    UNDERSTUDY_ASSERT(whole || !ring, "packets come back before their device goes");
    if (whole) ::rte_mempool_free(pool);  // a NIC's driver may have lost some
  }
}

Result<std::unique_ptr<Device>> Device::open(const DeviceOptions& options) {
  UNDERSTUDY_TRY(const auto spec, parse_device(options.spec));
  const auto* interface = std::get_if<LinuxInterface>(&spec);
  if (interface != nullptr && ::if_nametoindex(interface->name.c_str()) == 0) {
    return fail(ErrorKind::unavailable,
                "interface {} does not exist on this host; create it or correct the configuration",
                interface->name);
  }
  UNDERSTUDY_CHECK(start_runtime());
  std::unique_ptr<Device> device{new Device};
  device->parts_ = std::make_unique<Parts>();
  auto ready = device->attach(spec, options);
  if (ready) ready = device->bring_up(options);
  if (ready) ready = device->find_fd(options);
  if (!ready) return fail(ready.error().within(fmt::format("DPDK device {}", options.spec)));
  return device;
}

Device::~Device() = default;

Result<> Device::attach(const DeviceSpec& spec, const DeviceOptions& options) {
  const std::lock_guard lock{devices_mutex};
  auto& parts = *parts_;
  std::string name;
  std::string arguments;
  parts.bus = "vdev";
  if (const auto* linux_interface = std::get_if<LinuxInterface>(&spec)) {
    const auto& ring =
        parts.ring.emplace(packet_ring(mtu_of(linux_interface->name), options.ring_bytes));
    parts.interface = ::if_nametoindex(linux_interface->name.c_str());
    name = fmt::format("net_af_packet{}", devices_made++);
    arguments = fmt::format("iface={},blocksz={},framesz={},framecnt={},qpairs=1",
                            linux_interface->name, ring.block_bytes, ring.slot_bytes, ring.slots);
    UNDERSTUDY_TRY(parts.watch, LinkWatch::open(linux_interface->name));
  } else if (const auto* virtual_device = std::get_if<VirtualDevice>(&spec)) {
    name = fmt::format("{}{}", virtual_device->driver, devices_made++);
    arguments = virtual_device->arguments;
  } else {
    parts.bus = "pci";
    name = std::get<PciDevice>(spec).address;
  }

  const auto before = open_descriptors();
  const Listening ears;
  if (::rte_eal_hotplug_add(parts.bus.c_str(), name.c_str(), arguments.c_str()) != 0) {
    return fail(ErrorKind::unavailable, "DPDK cannot open it ({}); {}", ears.heard(),
                parts.bus == "pci" ? "is it bound to vfio-pci, and is there a driver for it?"
                                   : "the daemon needs CAP_NET_RAW and CAP_NET_ADMIN");
  }
  parts.name = name;
  if (::rte_eth_dev_get_port_by_name(name.c_str(), &parts.port) != 0) {
    return fail(ErrorKind::unavailable, "it is not an Ethernet device");
  }
  for (const int fd : open_descriptors()) {
    if (!before.contains(fd) && parts.interface != 0 && is_packet_socket(fd, parts.interface)) {
      parts.socket = fd;
    }
  }
  return {};
}

Result<> Device::bring_up(const DeviceOptions& options) {
  const std::lock_guard lock{devices_mutex};
  auto& parts = *parts_;
  rte_eth_dev_info info{};
  if (const int code = ::rte_eth_dev_info_get(parts.port, &info); code != 0) {
    return fail(ErrorKind::io, "asking what it can: {}", reason(code));
  }
  std::uint16_t mtu{};
  ::rte_eth_dev_get_mtu(parts.port, &mtu);
  rte_eth_conf configuration{};
  std::uint16_t receive_queue = descriptors;
  std::uint16_t send_queue = descriptors;
  std::size_t kept = 0;  // packets that lie in the queues
  if (parts.ring) {
    // The driver reports an MTU that is not the interface's, and must not be given one.
    const auto limit = parts.ring->frame_bytes() - vlan_tag_bytes;
    char name[IF_NAMESIZE]{};
    ::if_indextoname(parts.interface, name);
    frame_bytes_ = std::min(limit, mtu_of(name) + ethernet_header_bytes);
    receive_slots_ = parts.ring->slots;
    parts.room = parts.ring->slot_bytes;
  } else {
    mtu = static_cast<std::uint16_t>(std::min<std::size_t>(options.mtu, info.max_mtu));
    if (parts.bus == "pci") configuration.rxmode.mtu = mtu;
    configuration.intr_conf.rxq = 1;
    ::rte_eth_dev_adjust_nb_rx_tx_desc(parts.port, &receive_queue, &send_queue);
    frame_bytes_ = mtu + ethernet_header_bytes;
    receive_slots_ = receive_queue;
    kept = receive_queue;
    parts.room = std::max<std::size_t>(frame_bytes_ + 2 * vlan_tag_bytes, 2048);
  }
  const auto packets =
      std::clamp(options.packet_bytes / parts.room, 2 * burst, limits::device_packets);
  UNDERSTUDY_TRY(parts.receive_pool,
                 make_pool(fmt::format("{}_rx", parts.name), packets + burst + kept, parts.room));
  UNDERSTUDY_TRY(parts.send_pool,
                 make_pool(fmt::format("{}_tx", parts.name),
                           packets / 2 + (kept != 0 ? send_queue : 0), parts.room));
  int code = ::rte_eth_dev_configure(parts.port, 1, 1, &configuration);
  if (code == 0) {
    code = ::rte_eth_rx_queue_setup(parts.port, 0, receive_queue, any_socket, nullptr,
                                    parts.receive_pool);
  }
  if (code == 0) {
    code = ::rte_eth_tx_queue_setup(parts.port, 0, send_queue, any_socket, nullptr);
  }
  if (code == 0) code = ::rte_eth_dev_start(parts.port);
  if (code != 0) return fail(ErrorKind::io, "setting it up: {}", reason(code));
  parts.started = true;
  if (options.promiscuous && !parts.ring) ::rte_eth_promiscuous_enable(parts.port);
  rte_ether_addr address{};
  ::rte_eth_macaddr_get(parts.port, &address);
  std::copy_n(std::begin(address.addr_bytes), address_.size(), address_.begin());
  return {};
}

Result<> Device::find_fd(const DeviceOptions& options) {
  auto& parts = *parts_;
  if (parts.socket >= 0) {
    // The whole ring may be on its way at once: the default would leave its end behind, and could
    // make the driver wait.
    const int size = limits::packet_socket_bytes;
    if (::setsockopt(parts.socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) {
      return fail_errno("enlarging its socket's buffer");
    }
    return options.ether_type ? admit_only(parts.socket, *options.ether_type) : Result<>{};
  }
  if (parts.ring) return fail(ErrorKind::io, "its driver's socket is not found");
  parts.interrupt = ::rte_eth_dev_rx_intr_ctl_q_get_fd(parts.port, 0);
  if (parts.interrupt >= 0 && ::rte_eth_dev_rx_intr_enable(parts.port, 0) == 0) return {};
  parts.interrupt = -1;
  parts.timer = UniqueFd{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
  const timespec period{0, std::chrono::nanoseconds{limits::device_poll}.count()};
  const itimerspec ticks{period, period};
  if (!parts.timer || ::timerfd_settime(parts.timer.get(), 0, &ticks, nullptr) != 0) {
    return fail_errno("making its timer");
  }
  return {};
}

Packet Device::allocate() {
  auto* mbuf = rte_pktmbuf_alloc(parts_->send_pool);
  if (mbuf == nullptr) return {};
  mbuf->data_len = static_cast<std::uint16_t>(frame_bytes_ + vlan_tag_bytes);
  mbuf->pkt_len = mbuf->data_len;
  return Packet{mbuf};
}

Device::Sent Device::send(Packet packet, std::size_t bytes) {
  auto& parts = *parts_;
  if (bytes < ethernet_header_bytes || bytes > packet.bytes().size()) {
    ++parts.not_sent;
    return Sent::no;
  }
  packet.mbuf_->data_len = static_cast<std::uint16_t>(bytes);
  packet.mbuf_->pkt_len = packet.mbuf_->data_len;
  const std::lock_guard lock{parts.send_mutex};
  if (rte_eth_tx_burst(parts.port, 0, &packet.mbuf_, 1) != 1) {
    ++parts.not_sent;
    return Sent::no;
  }
  packet.mbuf_ = nullptr;  // the driver's now
  ++parts.sent;
  return kick();
}

Device::Sent Device::kick() {
  if (parts_->socket < 0) return Sent::whole;
  const auto pushed = ::sendto(parts_->socket, nullptr, 0, MSG_DONTWAIT, nullptr, 0);
  if (pushed == 0) return Sent::whole;
  return pushed < 0 && (errno == ENETDOWN || errno == ENXIO) ? Sent::no : Sent::stuck;
}

std::size_t Device::receive(std::span<Packet> space) {
  auto& parts = *parts_;
  std::array<rte_mbuf*, burst> mbufs{};
  const std::size_t got = rte_eth_rx_burst(
      parts.port, 0, mbufs.data(), static_cast<std::uint16_t>(std::min(space.size(), burst)));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < got; ++i) {
    Packet packet{mbufs.at(i)};
    if (packet.mbuf_->nb_segs != 1 || packet.bytes().size() < ethernet_header_bytes) {
      ++parts.strange;
    } else {
      space[kept++] = std::move(packet);
    }
  }
  parts.received += kept;
  return kept;
}

bool Device::has_room() const {
  return rte_mempool_empty(parts_->receive_pool) == 0;
}

int Device::fd() const {
  if (parts_->socket >= 0) return parts_->socket;
  return parts_->interrupt >= 0 ? parts_->interrupt : parts_->timer.get();
}

Device::Settled Device::settle() {
  const auto& parts = *parts_;
  if (parts.socket >= 0) {
    // Reading the error takes it away; left there, it would wake us for ever.
    int error{};
    socklen_t size = sizeof error;
    ::getsockopt(parts.socket, SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0 ? Settled::quiet : Settled::complained;
  }
  std::uint64_t ticks{};
  [[maybe_unused]] const auto got = ::read(fd(), &ticks, sizeof ticks);
  if (parts.interrupt < 0) return Settled::quiet;
  ::rte_eth_dev_rx_intr_enable(parts.port, 0);
  return Settled::look_again;
}

bool Device::carries() const {
  if (parts_->watch) return parts_->watch->carries();
  rte_eth_link link{};
  return ::rte_eth_link_get_nowait(parts_->port, &link) == 0 && link.link_status != 0;
}

bool Device::exists() const {
  return !parts_->watch || parts_->watch->exists();
}

int Device::carrier_fd() const {
  return parts_->watch ? parts_->watch->fd() : -1;
}

void Device::settle_carrier() {
  if (parts_->watch) parts_->watch->drain();
}

DeviceCounters Device::counters() const {
  auto& parts = *parts_;
  const std::lock_guard lock{parts.missed_mutex};
  if (parts.socket >= 0) {
    tpacket_stats since_last_time{};
    socklen_t size = sizeof since_last_time;
    ::getsockopt(parts.socket, SOL_PACKET, PACKET_STATISTICS, &since_last_time, &size);
    parts.missed += since_last_time.tp_drops;
  } else {
    rte_eth_stats statistics{};
    ::rte_eth_stats_get(parts.port, &statistics);
    parts.missed = statistics.imissed;
  }
  return {parts.sent, parts.received, parts.missed + parts.strange, parts.not_sent};
}

}  // namespace understudy::dpdk
