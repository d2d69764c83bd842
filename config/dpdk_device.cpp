#include "config/dpdk_device.hpp"

#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "config/assert.hpp"
#include "config/clock.hpp"
#include "config/dpdk_pool.hpp"
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

constexpr std::string_view xdp_driver = "net_af_xdp";
/// The kernel keeps it free before a frame that it puts into memory of AF_XDP.
constexpr std::size_t xdp_headroom = 256;
/// That memory is ours, and each packet of it must fit a page.
constexpr std::size_t xdp_room =
    4096 - RTE_CACHE_LINE_SIZE - sizeof(rte_mbuf) - RTE_PKTMBUF_HEADROOM;

std::string reason(int code) {
  return ::rte_strerror(code < 0 ? -code : rte_errno);
}

std::size_t mtu_of(const std::string& interface) {
  const auto control = control_socket();
  auto request = interface_request(interface);
  // SAFETY: reads and writes an ifreq.
  const int got = ::ioctl(control.get(), SIOCGIFMTU, &request);
  return got == 0 && request.ifr_mtu > 0 ? static_cast<std::size_t>(request.ifr_mtu) : 1500;
}

std::set<int> open_descriptors() {
  std::set<int> found;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", gone}) {
    const auto name = entry.path().filename().string();
    int number{};
    const auto read = std::from_chars(name.data(), name.data() + name.size(), number);
    if (read.ec == std::errc{}) found.insert(number);
  }
  return found;
}

/// By which a driver hears of that interface. One of AF_XDP does not tell whose it is.
bool is_driver_socket(int fd, unsigned interface) {
  int domain{};
  socklen_t size = sizeof domain;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return false;
  if (domain == AF_XDP) return true;
  if (domain != AF_PACKET) return false;
  sockaddr_ll bound{};
  size = sizeof bound;
  // SAFETY: getsockname fills a sockaddr_ll through the general type.
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0 &&
         bound.sll_ifindex == static_cast<int>(interface);
}

/// Which file a descriptor stands for: other threads may get its number after a close.
std::optional<ino_t> file_of(int fd) {
  struct stat known {};
  if (fd < 0 || ::fstat(fd, &known) != 0) return std::nullopt;
  return known.st_ino;
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

/// Whether DPDK knows what to do with a virtual device of this name.
bool has_driver(const std::string& name) {
  rte_devargs parsed{};
  const bool known = ::rte_devargs_parse(&parsed, name.c_str()) == 0;
  std::free(parsed.data);  // NOLINT(cppcoreguidelines-no-malloc): DPDK made it so
  return known;
}

/// Never beside the driver: a frame that the kernel fails to send is free in its ring for a moment,
/// and is then to be sent again. Were it filled meanwhile, driver and kernel would go on from
/// different frames, and nothing be sent for as many as the ring has.
Device::Sent push(int socket) {
  if (socket < 0) return Device::Sent::whole;
  const auto pushed = ::sendto(socket, nullptr, 0, MSG_DONTWAIT, nullptr, 0);
  if (pushed == 0) return Device::Sent::whole;
  return pushed < 0 && (errno == ENETDOWN || errno == ENXIO) ? Device::Sent::no
                                                             : Device::Sent::stuck;
}

}  // namespace

std::span<std::byte> Packet::bytes() const {
  // SAFETY: an mbuf of one segment holds data_len bytes there.
  return {rte_pktmbuf_mtod(mbuf_, std::byte*), mbuf_->data_len};
}

void Packet::reset() {
  if (mbuf_ == nullptr) return;
  mbuf_->port = RTE_MBUF_PORT_INVALID;
  rte_pktmbuf_free(std::exchange(mbuf_, nullptr));
}

/// What DPDK and the kernel hold for the device.
struct Device::Parts {
  Parts() = default;
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts();

  std::string bus;
  std::string name;  ///< DPDK's; empty: not attached
  std::string interface_name;
  unsigned interface {};  ///< of Linux; 0: not one
  bool started{};
  bool xdp{};  ///< by AF_XDP's driver: the kernel puts frames into the receive pool itself
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
  const auto file = file_of(socket);
  if (started) ::rte_eth_dev_stop(port);
  if (!name.empty()) {
    ::rte_eth_dev_close(port);
    ::rte_eal_hotplug_remove(bus.c_str(), name.c_str());
  }
  // AF_XDP's driver leaves it open, and with it the pool's memory in use.
  if (xdp && file && file_of(socket) == file) ::close(socket);
  for (auto* pool : {receive_pool, send_pool}) {
    if (pool == nullptr) continue;
    // Other drivers than that of AF_PACKET forget what lies in their queues when they close.
    const bool whole = rte_mempool_full(pool) == 1 || (!ring && all_came_back(pool));
    UNDERSTUDY_ASSERT(whole || !ring, "packets come back before their device goes");
    if (whole) ::rte_mempool_free(pool);
  }
}

Result<std::unique_ptr<Device>> Device::open(const DeviceOptions& options) {
  UNDERSTUDY_TRY(const auto spec, parse_device(options.spec));
  const auto interface = interface_of(spec);
  if (interface && ::if_nametoindex(interface->c_str()) == 0) {
    return fail(ErrorKind::unavailable,
                "interface {} does not exist on this host; create it or correct the configuration",
                *interface);
  }
  UNDERSTUDY_CHECK(start_runtime());
  const auto give_up = now() + limits::stale_interface;
  while (true) {
    std::unique_ptr<Device> device{new Device};
    device->parts_ = std::make_unique<Parts>();
    auto ready = device->make(spec, options);
    if (ready) ready = device->find_fd(options);
    if (ready) return device;
    // The kernel takes a moment to give up an interface for which it had a socket of AF_XDP.
    if (!device->parts_->xdp || now() > give_up) {
      return fail(ready.error().within(fmt::format("DPDK device {}", options.spec)));
    }
    std::this_thread::sleep_for(limits::stale_interface / 100);
  }
}

Device::~Device() = default;

Result<> Device::make(const DeviceSpec& spec, const DeviceOptions& options) {
  const std::lock_guard lock{devices_mutex};
  const auto before = open_descriptors();
  if (const auto interface = interface_of(spec)) {
    parts_->interface_name = *interface;
    parts_->interface = ::if_nametoindex(interface->c_str());
    UNDERSTUDY_TRY(parts_->watch, LinkWatch::open(*interface));
  }
  UNDERSTUDY_CHECK(attach(spec, options));
  auto up = bring_up(options);
  for (const int fd : open_descriptors()) {
    if (!before.contains(fd) && parts_->interface != 0 && is_driver_socket(fd, parts_->interface)) {
      parts_->socket = fd;
    }
  }
  return up;
}

Result<> Device::attach(const DeviceSpec& spec, const DeviceOptions& options) {
  auto& parts = *parts_;
  std::string name;
  std::string arguments;
  parts.bus = "vdev";
  if (const auto* linux_interface = std::get_if<LinuxInterface>(&spec)) {
    const auto& ring =
        parts.ring.emplace(packet_ring(mtu_of(linux_interface->name), options.ring_bytes));
    name = fmt::format("net_af_packet{}", devices_made++);
    arguments = fmt::format("iface={},blocksz={},framesz={},framecnt={},qpairs=1",
                            linux_interface->name, ring.block_bytes, ring.slot_bytes, ring.slots);
  } else if (const auto* virtual_device = std::get_if<VirtualDevice>(&spec)) {
    name = fmt::format("{}{}", virtual_device->driver, devices_made++);
    arguments = virtual_device->arguments;
    parts.xdp = virtual_device->driver == xdp_driver;
  } else {
    parts.bus = "pci";
    name = std::get<PciDevice>(spec).address;
  }

  const Listening ears;
  if (parts.bus == "vdev" && !has_driver(name)) {
    return fail(ErrorKind::unavailable,
                "DPDK has no such driver here ({}); install the package that contains it",
                ears.heard());
  }
  if (::rte_eal_hotplug_add(parts.bus.c_str(), name.c_str(), arguments.c_str()) != 0) {
    return fail(ErrorKind::unavailable, "DPDK cannot open it ({}); {}", ears.heard(),
                parts.bus == "pci" ? "is it bound to vfio-pci, and is there a driver for it?"
                                   : "the daemon needs CAP_NET_RAW and CAP_NET_ADMIN");
  }
  parts.name = name;
  if (::rte_eth_dev_get_port_by_name(name.c_str(), &parts.port) != 0) {
    return fail(ErrorKind::unavailable, "it is not an Ethernet device");
  }
  return {};
}

Result<> Device::bring_up(const DeviceOptions& options) {
  auto& parts = *parts_;
  rte_eth_dev_info info{};
  if (const int code = ::rte_eth_dev_info_get(parts.port, &info); code != 0) {
    return fail(ErrorKind::io, "asking what it can: {}", reason(code));
  }
  rte_eth_conf configuration{};
  std::uint16_t receive_queue = descriptors;
  std::uint16_t send_queue = descriptors;
  std::size_t kept = 0;  // packets that lie in the queues
  if (parts.ring) {
    // The driver reports an MTU that is not the interface's, and must not be given one.
    const auto limit = parts.ring->frame_bytes() - vlan_tag_bytes;
    frame_bytes_ = std::min(limit, mtu_of(parts.interface_name) + ethernet_header_bytes);
    receive_slots_ = parts.ring->slots;
    parts.room = parts.ring->slot_bytes;
  } else {
    auto mtu = parts.interface != 0 ? mtu_of(parts.interface_name) : options.mtu;
    mtu = std::min<std::size_t>(mtu, info.max_mtu);
    if (parts.bus == "pci") configuration.rxmode.mtu = static_cast<std::uint32_t>(mtu);
    configuration.intr_conf.rxq = 1;
    // Its driver gives the kernel so many packets whatever it is asked for.
    if (parts.xdp) receive_queue = std::max(descriptors, info.default_rxportconf.ring_size);
    ::rte_eth_dev_adjust_nb_rx_tx_desc(parts.port, &receive_queue, &send_queue);
    kept = receive_queue;
    frame_bytes_ = mtu + ethernet_header_bytes;
    parts.room = frame_bytes_ + 2 * vlan_tag_bytes;
    if (parts.xdp) {
      frame_bytes_ = std::min(frame_bytes_, xdp_room - xdp_headroom - 2 * vlan_tag_bytes);
      parts.room = frame_bytes_ + 2 * vlan_tag_bytes + xdp_headroom;
      kept += send_queue;  // what is sent is copied to packets of the same pool
    }
    receive_slots_ = receive_queue;
    parts.room = std::max<std::size_t>(parts.room, 2048);
  }
  const auto packets =
      std::clamp(options.packet_bytes / parts.room, 2 * burst, limits::device_packets);
  const auto layout = parts.xdp ? PoolLayout::one_piece : PoolLayout::usual;
  UNDERSTUDY_TRY(parts.receive_pool, make_pool(fmt::format("{}_rx", parts.name),
                                               packets + burst + kept, parts.room, layout));
  UNDERSTUDY_TRY(parts.send_pool, make_pool(fmt::format("{}_tx", parts.name),
                                            packets / 2 + (kept != 0 ? send_queue : 0), parts.room,
                                            PoolLayout::usual));
  const Listening ears;
  int code = ::rte_eth_dev_configure(parts.port, 1, 1, &configuration);
  if (code == 0) {
    code = ::rte_eth_rx_queue_setup(parts.port, 0, receive_queue, any_socket, nullptr,
                                    parts.receive_pool);
  }
  if (code == 0) {
    code = ::rte_eth_tx_queue_setup(parts.port, 0, send_queue, any_socket, nullptr);
  }
  if (code == 0) code = ::rte_eth_dev_start(parts.port);
  if (code != 0) return fail(ErrorKind::io, "setting it up: {} ({})", reason(code), ears.heard());
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
    const bool filters = parts.ring && options.ether_type;
    return filters ? admit_only(parts.socket, *options.ether_type) : Result<>{};
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
  return push(parts.socket);
}

Device::Sent Device::kick() {
  const std::lock_guard lock{parts_->send_mutex};
  return push(parts_->socket);
}

std::size_t Device::receive(std::span<Packet> space) {
  auto& parts = *parts_;
  std::array<rte_mbuf*, burst> mbufs{};
  const std::size_t got = rte_eth_rx_burst(
      parts.port, 0, mbufs.data(), static_cast<std::uint16_t>(std::min(space.size(), burst)));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < got; ++i) {
    mbufs.at(i)->port = parts.port;
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
  // AF_XDP's driver gives out a burst when it has as many to put in its place, or nothing.
  const auto needed = parts_->xdp ? burst : 1;
  return rte_mempool_avail_count(parts_->receive_pool) >= needed;
}

int Device::fd() const {
  if (parts_->socket >= 0) return parts_->socket;
  return parts_->interrupt >= 0 ? parts_->interrupt : parts_->timer.get();
}

bool Device::tells_by_itself() const {
  return parts_->socket >= 0;
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
  if (parts.xdp && parts.socket >= 0) {
    xdp_statistics statistics{};
    socklen_t size = sizeof statistics;
    ::getsockopt(parts.socket, SOL_XDP, XDP_STATISTICS, &statistics, &size);
    parts.missed = statistics.rx_dropped + statistics.rx_ring_full;
  } else if (parts.socket >= 0) {
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
