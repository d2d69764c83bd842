#include "netbuffer/vhost_port.hpp"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include <rte_errno.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>
#include <boost/circular_buffer.hpp>

#include "config/dpdk_runtime.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"

namespace understudy::netbuffer {
namespace {

using Burst = std::array<rte_mbuf*, 32>;

constexpr std::uint16_t to_guest = 0;  // the rings' numbers, as the driver counts
constexpr std::uint16_t from_guest = 1;

/// VHOST_USER_SET_MEM_TABLE as it came over the socket (vhost-user.rst), in this host's byte order.
struct MemoryMessage {
  struct Region {
    std::uint64_t guest_address;
    std::uint64_t size;
    std::uint64_t user_address;
    std::uint64_t offset;
  } __attribute__((packed));
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;
  std::uint32_t regions;
  std::uint32_t padding;
  std::array<Region, 8> region;
} __attribute__((packed));
constexpr std::uint32_t set_mem_table = 5;

constexpr std::uint64_t bit(unsigned number) {
  return std::uint64_t{1} << number;
}

/// Nothing that leaves a checksum or a segmentation to us; no packed rings, no second queue pair.
/// By their names in virtio 1.1; C++ cannot read Linux's headers of them.
constexpr auto features = bit(15)     // VIRTIO_NET_F_MRG_RXBUF
                          | bit(16)   // VIRTIO_NET_F_STATUS
                          | bit(17)   // VIRTIO_NET_F_CTRL_VQ
                          | bit(18)   // VIRTIO_NET_F_CTRL_RX
                          | bit(21)   // VIRTIO_NET_F_GUEST_ANNOUNCE
                          | bit(26)   // VHOST_F_LOG_ALL
                          | bit(27)   // VIRTIO_F_ANY_LAYOUT
                          | bit(28)   // VIRTIO_F_INDIRECT_DESC
                          | bit(29)   // VIRTIO_F_EVENT_IDX
                          | bit(30)   // VHOST_USER_F_PROTOCOL_FEATURES
                          | bit(32);  // VIRTIO_F_VERSION_1

/// QEMU calls a device that cannot log its writes not migratable, though it never asks for the log.
constexpr auto protocol_features = bit(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
                                   bit(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
                                   bit(VHOST_USER_PROTOCOL_F_STATUS);

/// For the library's thread: a paused guest waits for what it answers, and others may spin on a
/// lock that it has. DPDK has bound it to a processor.
void hurry_this_thread() {
  static_cast<void>(ask_for_real_time());
  cpu_set_t any;
  std::memset(&any, 0xff, sizeof any);
  ::sched_setaffinity(0, sizeof any, &any);
}

class VhostPort final : public GuestPort {
 public:
  explicit VhostPort(std::shared_ptr<OwnMappings> mappings) : mappings_{std::move(mappings)} {}
  ~VhostPort() override;
  VhostPort(const VhostPort&) = delete;
  VhostPort& operator=(const VhostPort&) = delete;

  /// QEMU's end.
  [[nodiscard]] Result<UniqueFd> listen();

  [[nodiscard]] int fd() const override { return epoll_.get(); }
  [[nodiscard]] Result<bool> read() override;
  [[nodiscard]] Result<std::optional<std::span<const std::byte>>> front() const override;
  void pop() override;
  [[nodiscard]] bool takes() const override;
  [[nodiscard]] bool give(std::span<const std::byte> frame) override;

  // On the library's thread.
  [[nodiscard]] bool connected(int device);
  void disconnected();
  [[nodiscard]] bool started(int device);
  void stopped();
  void before_mapping(int device, const MemoryMessage& message);
  void look_at_mappings(int device);

 private:
  [[nodiscard]] Result<> prepare();
  [[nodiscard]] Result<> serve(const std::string& path);
  [[nodiscard]] bool watch_kicks();
  void forget_mappings();
  std::size_t take();
  void offer();
  void wake() const { ::eventfd_write(wake_.get(), 1); }

  const std::shared_ptr<OwnMappings> mappings_;
  std::string path_;  // the library's name for us; empty: it does not know us
  rte_mempool* pool_{};
  UniqueFd epoll_;  // readable when one of those below has been signalled
  UniqueFd wake_;

  std::vector<OwnMapping> mapped_;  // of the library's thread alone

  mutable std::mutex mutex_;   // for all below
  std::optional<int> device_;  // runs
  std::array<UniqueFd, 2> kicks_;
  boost::circular_buffer<rte_mbuf*> taken_{limits::vhost_frames};
  rte_mbuf* waiting_{};  // for the guest, whose ring was full
  bool connected_{};
  bool lost_{};
  bool introduced_{};  // the guest was called since QEMU has connected
  bool kick_asked_{};  // for its next frame
  bool room_asked_{};  // for a kick when its ring has room
};

using MemoryTable = std::unique_ptr<rte_vhost_memory, decltype(&::free)>;

/// Only of a device that has one: the library does not check.
MemoryTable memory_of(int device) {
  rte_vhost_memory* table{};
  ::rte_vhost_get_mem_table(device, &table);
  return {table, &::free};
}

/// What QEMU sends in each `cont` mostly says what it said before; the library then keeps its
/// mappings.
bool would_remap(int device, const MemoryMessage& message) {
  const auto table = memory_of(device);
  if (!table || table->nregions != message.regions) return true;
  for (std::uint32_t i = 0; i < table->nregions && i < message.region.size(); ++i) {
    const auto& old = table->regions[i];
    const auto& region = message.region[i];
    if (old.guest_phys_addr != region.guest_address || old.size != region.size ||
        old.guest_user_addr != region.user_address) {
      return true;
    }
  }
  return false;
}

/// The library's callbacks bring a number, which has the socket's path.
struct Ports {
  std::mutex mutex;
  std::map<std::string, VhostPort*> by_path;
} ports;

template <class Work>
int with_port(int device, Work work) {
  std::array<char, 256> path{};
  if (::rte_vhost_get_ifname(device, path.data(), path.size()) != 0) return -1;
  const std::lock_guard lock{ports.mutex};
  const auto found = ports.by_path.find(path.data());
  return found != ports.by_path.end() && work(*found->second) ? 0 : -1;
}

// The library has the rings locked while these two are called: nothing is written meanwhile.

rte_vhost_msg_result before_message(int device, void* message) {
  const auto& header = *static_cast<const MemoryMessage*>(message);
  if (header.request == set_mem_table) {
    with_port(device, [&](VhostPort& port) { return port.before_mapping(device, header), true; });
  }
  return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

rte_vhost_msg_result after_message(int device, void* message) {
  if (static_cast<const MemoryMessage*>(message)->request == set_mem_table) {
    with_port(device, [device](VhostPort& port) { return port.look_at_mappings(device), true; });
  }
  return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

constexpr rte_vhost_user_extern_ops message_hooks{&before_message, &after_message};

int on_connection(int device) {
  hurry_this_thread();
  return with_port(device, [device](VhostPort& port) { return port.connected(device); });
}

void on_disconnection(int device) {
  with_port(device, [](VhostPort& port) { return port.disconnected(), true; });
}

int on_start(int device) {
  return with_port(device, [device](VhostPort& port) { return port.started(device); });
}

void on_stop(int device) {
  with_port(device, [](VhostPort& port) { return port.stopped(), true; });
}

constexpr rte_vhost_device_ops device_hooks = [] {
  rte_vhost_device_ops hooks{};
  hooks.new_connection = &on_connection;
  hooks.destroy_connection = &on_disconnection;
  hooks.new_device = &on_start;
  hooks.destroy_device = &on_stop;
  return hooks;
}();

/// A directory in which a socket has a name for as long as nobody needs it.
class PrivateDirectory {
 public:
  PrivateDirectory() {
    std::error_code none;
    path_ = (std::filesystem::temp_directory_path(none) / "understudy-XXXXXX").string();
    made_ = ::mkdtemp(path_.data()) != nullptr;
  }
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;
  ~PrivateDirectory() {
    std::error_code none;
    if (made_) std::filesystem::remove_all(path_, none);
  }
  [[nodiscard]] bool made() const { return made_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool made_;
};

// --- making it

VhostPort::~VhostPort() {
  {
    const std::lock_guard lock{ports.mutex};
    ports.by_path.erase(path_);
  }
  if (!path_.empty()) ::rte_vhost_driver_unregister(path_.c_str());
  mappings_->before_change(this);
  for (auto* frame : taken_) ::rte_pktmbuf_free(frame);
  ::rte_pktmbuf_free(waiting_);
  ::rte_mempool_free(pool_);
}

Result<UniqueFd> VhostPort::listen() {
  UNDERSTUDY_CHECK(prepare());
  const PrivateDirectory directory;
  if (!directory.made()) return fail_errno(fmt::format("a socket in {}", directory.path()));
  const auto path = directory.path() + "/vhost";
  UNDERSTUDY_CHECK(serve(path));
  UniqueFd qemus{::open(path.c_str(), O_PATH | O_CLOEXEC)};
  if (!qemus) return fail_errno(path);
  return qemus;
}

Result<> VhostPort::prepare() {
  epoll_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
  wake_ = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  epoll_event edge{};
  edge.events = EPOLLIN | EPOLLET;
  if (!epoll_ || !wake_ || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &edge) != 0) {
    return fail_errno("preparing a vhost-user NIC");
  }
  static std::atomic<unsigned> made = 0;
  // One mbuf is as large as any frame: a guest's chain of buffers never takes more of them. Free of
  // locks, for threads of all priorities use it.
  pool_ = ::rte_pktmbuf_pool_create_by_ops(
      fmt::format("vhost{}", made++).c_str(), limits::vhost_frames + std::tuple_size_v<Burst> + 1,
      0, 0, limits::vhost_frame_bytes + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY, "lf_stack");
  if (pool_ != nullptr) return {};
  return fail(ErrorKind::limit,
              "no memory for the frames of a vhost-user NIC ({}); raise "
              "dpdk.memory_mib",
              ::rte_strerror(rte_errno));
}

Result<> VhostPort::serve(const std::string& path) {
  const dpdk::Listening ears;
  constexpr auto flags = RTE_VHOST_USER_LINEARBUF_SUPPORT | RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
  if (::rte_vhost_driver_register(path.c_str(), flags) != 0) {
    return fail(ErrorKind::io, "vhost-user at {}: {}", path, ears.heard());
  }
  path_ = path;
  {
    const std::lock_guard lock{ports.mutex};
    ports.by_path.emplace(path, this);
  }
  std::uint64_t known{};
  std::uint64_t known_protocol{};
  if (::rte_vhost_driver_get_features(path.c_str(), &known) != 0 ||
      ::rte_vhost_driver_disable_features(path.c_str(), known & ~features) != 0 ||
      ::rte_vhost_driver_get_protocol_features(path.c_str(), &known_protocol) != 0 ||
      ::rte_vhost_driver_set_protocol_features(path.c_str(), known_protocol & protocol_features) !=
          0 ||
      ::rte_vhost_driver_callback_register(path.c_str(), &device_hooks) != 0 ||
      ::rte_vhost_driver_start(path.c_str()) != 0) {
    return fail(ErrorKind::io, "vhost-user at {}: {}", path, ears.heard());
  }
  return {};
}

// --- on the library's thread

bool VhostPort::connected(int device) {
  const std::lock_guard lock{mutex_};
  if (std::exchange(connected_, true)) return false;  // QEMU does so once
  return ::rte_vhost_extern_callback_register(device, &message_hooks, nullptr) == 0;
}

void VhostPort::disconnected() {
  stopped();
  forget_mappings();
  const std::lock_guard lock{mutex_};
  lost_ = true;
  wake();
}

bool VhostPort::started(int device) {
  const std::lock_guard lock{mutex_};
  device_ = device;
  if (!watch_kicks()) {
    log::warning("netbuffer.vhost_refused", {log::kv("why", "its kicks cannot be waited for")});
    device_.reset();
    return false;
  }
  kick_asked_ = room_asked_ = false;
  if (!std::exchange(introduced_, true)) {
    for (const auto ring : {to_guest, from_guest}) ::rte_vhost_vring_call(device, ring);
  }
  wake();
  return true;
}

/// QEMU may exchange or close its own at any time.
bool VhostPort::watch_kicks() {
  for (const auto ring : {to_guest, from_guest}) {
    rte_vhost_vring about{};
    if (::rte_vhost_get_vhost_vring(*device_, ring, &about) != 0) return false;
    auto& kick = kicks_.at(ring);
    kick = UniqueFd{::fcntl(about.kickfd, F_DUPFD_CLOEXEC, 0)};
    // On edges: it is never read, which might block on what is no eventfd.
    epoll_event edge{};
    edge.events = EPOLLIN | EPOLLET;
    if (!kick || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, kick.get(), &edge) != 0) return false;
  }
  return true;
}

void VhostPort::stopped() {
  const std::lock_guard lock{mutex_};
  while (device_ && take() > 0) {
  }
  for (auto& kick : kicks_) {
    // QEMU has the same eventfd: closing ours would not take it out.
    if (kick) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, kick.get(), nullptr);
    kick.reset();
  }
  device_.reset();
}

void VhostPort::before_mapping(int device, const MemoryMessage& message) {
  if (!mapped_.empty() && would_remap(device, message)) forget_mappings();
}

void VhostPort::forget_mappings() {
  mappings_->before_change(this);
  mapped_.clear();
}

/// A mapping that was made anew has another descriptor: it came before the old one was closed.
void VhostPort::look_at_mappings(int device) {
  const auto table = memory_of(device);
  std::vector<OwnMapping> found;
  for (std::uint32_t i = 0; table && i < table->nregions; ++i) {
    const auto& region = table->regions[i];
    found.push_back({region.fd, {static_cast<std::byte*>(region.mmap_addr), region.mmap_size}});
  }
  const auto same = [](const OwnMapping& one, const OwnMapping& other) {
    return one.file == other.file && one.bytes.data() == other.bytes.data() &&
           one.bytes.size() == other.bytes.size();
  };
  if (std::equal(found.begin(), found.end(), mapped_.begin(), mapped_.end(), same)) return;
  mappings_->mapped(this, found);
  mapped_ = std::move(found);
}

// --- on the network's threads

Result<bool> VhostPort::read() {
  const std::lock_guard lock{mutex_};
  std::array<epoll_event, 3> signalled;
  ::epoll_wait(epoll_.get(), signalled.data(), static_cast<int>(signalled.size()), 0);
  if (lost_) return fail(ErrorKind::closed, "QEMU has closed its end");
  if (!device_) return false;
  offer();
  auto taken = take();
  if (taken == 0 && !std::exchange(kick_asked_, true)) {
    ::rte_vhost_enable_guest_notification(*device_, from_guest, 1);
    taken = take();  // what came before it knew that we ask
  }
  if (taken == 0) return false;
  wake();  // nobody kicks for what is in the ring already
  return true;
}

/// How many frames were taken.
std::size_t VhostPort::take() {
  Burst burst;
  const auto room = std::min(burst.size(), taken_.capacity() - taken_.size());
  const std::size_t count = ::rte_vhost_dequeue_burst(*device_, from_guest, pool_, burst.data(),
                                                      static_cast<std::uint16_t>(room));
  taken_.insert(taken_.end(), burst.begin(), burst.begin() + static_cast<std::ptrdiff_t>(count));
  if (count > 0) kick_asked_ = false;
  return count;
}

Result<std::optional<std::span<const std::byte>>> VhostPort::front() const {
  using Frame = std::optional<std::span<const std::byte>>;
  const std::lock_guard lock{mutex_};
  if (taken_.empty()) return Frame{};
  const auto* frame = taken_.front();
  // SAFETY: an mbuf of one segment holds data_len bytes there.
  return Frame{{rte_pktmbuf_mtod(frame, const std::byte*), frame->data_len}};
}

void VhostPort::pop() {
  const std::lock_guard lock{mutex_};
  ::rte_pktmbuf_free(taken_.front());
  taken_.pop_front();
}

bool VhostPort::takes() const {
  const std::lock_guard lock{mutex_};
  return device_ && waiting_ == nullptr;
}

bool VhostPort::give(std::span<const std::byte> frame) {
  const std::lock_guard lock{mutex_};
  if (!device_ || waiting_ != nullptr || frame.size() > limits::vhost_frame_bytes) return false;
  waiting_ = ::rte_pktmbuf_alloc(pool_);
  if (waiting_ == nullptr) return false;
  // SAFETY: appended: the pool's mbufs hold limits::vhost_frame_bytes.
  std::memcpy(::rte_pktmbuf_append(waiting_, static_cast<std::uint16_t>(frame.size())),
              frame.data(), frame.size());
  offer();
  return true;
}

/// Puts the waiting frame into the guest's ring, or asks to be told when there is room.
void VhostPort::offer() {
  if (waiting_ == nullptr) return;
  auto given = ::rte_vhost_enqueue_burst(*device_, to_guest, &waiting_, 1);
  if (given == 0 && !std::exchange(room_asked_, true)) {
    ::rte_vhost_enable_guest_notification(*device_, to_guest, 1);
    given = ::rte_vhost_enqueue_burst(*device_, to_guest, &waiting_, 1);
  }
  if (given == 0) return;
  ::rte_pktmbuf_free(std::exchange(waiting_, nullptr));
  if (std::exchange(room_asked_, false)) {
    ::rte_vhost_enable_guest_notification(*device_, to_guest, 0);
  }
}

}  // namespace

Result<std::pair<std::unique_ptr<GuestPort>, UniqueFd>> connect_vhost_nic(
    std::shared_ptr<OwnMappings> mappings) {
  UNDERSTUDY_CHECK(dpdk::start_runtime());
  // What a guest does wrong in its rings would be told for each packet.
  ::rte_log_set_level_pattern("lib.vhost.data", RTE_LOG_CRIT);
  auto port = std::make_unique<VhostPort>(std::move(mappings));
  UNDERSTUDY_TRY(auto qemus, port->listen());
  return std::pair{std::unique_ptr<GuestPort>{std::move(port)}, std::move(qemus)};
}

}  // namespace understudy::netbuffer
