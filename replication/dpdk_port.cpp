#include "replication/dpdk_port.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "config/assert.hpp"
#include "config/clock.hpp"
#include "config/dpdk_device.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"
#include "config/unique_fd.hpp"

namespace understudy::replication {
namespace {

constexpr std::uint16_t ether_type = 0x88B5;
constexpr std::size_t address_bytes = std::tuple_size_v<HostAddress>;
constexpr std::size_t type_at = 2 * address_bytes;
constexpr std::size_t length_at = type_at + 2;
constexpr std::size_t header_bytes = length_at + 2;

void put(std::span<std::byte> at, std::size_t value) {
  at[0] = static_cast<std::byte>(value >> 8U);
  at[1] = static_cast<std::byte>(value);
}

std::size_t get(std::span<const std::byte> at) {
  return std::to_integer<std::size_t>(at[0]) << 8U | std::to_integer<std::size_t>(at[1]);
}

Result<> watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno("epoll_ctl");
  return {};
}

void unwatch(int epoll, int fd) {
  ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
}

class DpdkDatagram : public DatagramBuffer {
 public:
  DpdkDatagram(dpdk::Packet packet, std::size_t size) : packet_{std::move(packet)}, size_{size} {}
  [[nodiscard]] std::span<std::byte> bytes() override {
    return packet_.bytes().subspan(header_bytes, size_);
  }
  [[nodiscard]] dpdk::Packet& packet() { return packet_; }

 private:
  dpdk::Packet packet_;
  std::size_t size_;
};

class DpdkPort : public DatagramPort {
 public:
  DpdkPort(std::unique_ptr<dpdk::Device> device, const DpdkPortOptions& options)
      : device_{std::move(device)}, idle_{options.idle}, core_{options.core} {}
  ~DpdkPort() override { stop(); }
  DpdkPort(const DpdkPort&) = delete;
  DpdkPort& operator=(const DpdkPort&) = delete;

  [[nodiscard]] Result<> prepare();

  [[nodiscard]] HostAddress address() const override { return device_->address(); }
  [[nodiscard]] std::size_t datagram_bytes() const override {
    return device_->frame_bytes() - header_bytes;
  }
  /// A quarter of the ring is left to frames of other senders, and to what is sent twice.
  [[nodiscard]] std::size_t receive_room() const override {
    return device_->receive_slots() / 4 * 3;
  }
  [[nodiscard]] DatagramPointer allocate() override;
  void send(const HostAddress& to, DatagramPointer datagram, std::size_t bytes) override;
  void start(DatagramEvents& events) override;
  void stop() override;
  [[nodiscard]] DatagramCounters counters() const override;
  [[nodiscard]] bool lend(int epoll) override;
  [[nodiscard]] bool read_lent(int epoll) override;
  void give_back(int epoll) override;

 private:
  enum class Read : std::uint8_t { something, nothing, lent };
  static constexpr int nobody = -1;

  // Of the reader, who holds `reading_`.
  [[nodiscard]] bool receive(DatagramEvents& events);
  void take_back();

  // On the thread.
  void run(DatagramEvents& events);
  void settle_in() const;
  [[nodiscard]] Read read(DatagramEvents& events);
  void deliver(dpdk::Packet packet, DatagramEvents& events);
  void sleep(DatagramEvents& events, bool lent);
  [[nodiscard]] int longest_sleep() const;
  void look_at_carrier(DatagramEvents& events);
  void push_stuck();
  void look_after_lent();

  const std::unique_ptr<dpdk::Device> device_;
  const DpdkIdle idle_;
  const std::optional<unsigned> core_;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::atomic<bool> stopping_{};
  std::atomic<bool> stuck_{};
  bool carries_{true};
  std::atomic<bool> wanted_{};  ///< somebody waits for `reading_`
  std::mutex reading_;
  DatagramEvents* events_{};  ///< while started
  int lent_to_{nobody};       ///< whose epoll
  std::thread thread_;
};

Result<> DpdkPort::prepare() {
  epoll_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
  wake_ = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!epoll_ || !wake_) return fail_errno("what the port's thread waits with");
  for (const int fd : {wake_.get(), device_->carrier_fd()}) {
    if (fd >= 0) UNDERSTUDY_CHECK(watch(epoll_.get(), fd));
  }
  return watch(epoll_.get(), device_->fd());
}

DatagramPointer DpdkPort::allocate() {
  auto packet = device_->allocate();
  if (!packet) return nullptr;
  return std::make_unique<DpdkDatagram>(std::move(packet), datagram_bytes());
}

void DpdkPort::send(const HostAddress& to, DatagramPointer datagram, std::size_t bytes) {
  UNDERSTUDY_ASSERT(datagram && bytes <= datagram->bytes().size(), "it fits its buffer");
  // Only `allocate` makes buffers to send.
  auto& packet = static_cast<DpdkDatagram&>(*datagram).packet();
  const auto frame = packet.bytes();
  const auto from = device_->address();
  std::memcpy(frame.data(), to.data(), address_bytes);
  std::memcpy(frame.data() + address_bytes, from.data(), address_bytes);
  put(frame.subspan(type_at), ether_type);
  put(frame.subspan(length_at), bytes);
  const auto sent = device_->send(std::move(packet), header_bytes + bytes);
  if (sent == dpdk::Device::Sent::stuck && !stuck_.exchange(true)) ::eventfd_write(wake_.get(), 1);
}

void DpdkPort::start(DatagramEvents& events) {
  UNDERSTUDY_ASSERT(!thread_.joinable(), "a port is started once");
  stopping_ = false;
  {
    const std::lock_guard lock{reading_};
    events_ = &events;
  }
  thread_ = std::thread{[this, &events] { run(events); }};
}

void DpdkPort::stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
  const std::lock_guard lock{reading_};
  if (lent_to_ != nobody) take_back();
  events_ = nullptr;
}

DatagramCounters DpdkPort::counters() const {
  const auto counted = device_->counters();
  return {counted.sent, counted.received, counted.missed};
}

void DpdkPort::run(DatagramEvents& events) {
  settle_in();
  look_at_carrier(events);
  auto worked = now();
  auto looked = worked;
  while (!stopping_) {
    const auto got = read(events);
    const auto time = now();
    if (got == Read::something) {
      worked = time;
      continue;
    }
    if (idle_ == DpdkIdle::poll && time - looked > limits::carrier_poll) {
      looked = time;
      device_->settle_carrier();
      look_at_carrier(events);
      push_stuck();
    }
    const bool lent = got == Read::lent;
    const bool spins = !lent && !wanted_ && time - worked < limits::device_spin;
    if (idle_ == DpdkIdle::poll || spins) {
      __builtin_ia32_pause();
    } else {
      sleep(events, lent);
    }
  }
}

void DpdkPort::settle_in() const {
  // One that never sleeps would keep even the kernel's own threads from its processor.
  if (idle_ == DpdkIdle::poll) prefer_this_thread();
  if (!core_) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(*core_, &one);
  if (::sched_setaffinity(0, sizeof one, &one) != 0) {
    log::warning("dpdk_port.core_refused", {log::kv("core", *core_)});
  }
}

DpdkPort::Read DpdkPort::read(DatagramEvents& events) {
  const std::lock_guard lock{reading_};
  if (lent_to_ != nobody) return Read::lent;
  return receive(events) ? Read::something : Read::nothing;
}

bool DpdkPort::lend(int epoll) {
  if (idle_ == DpdkIdle::poll || !device_->tells_by_itself()) return false;
  wanted_ = true;
  const std::lock_guard lock{reading_};
  wanted_ = false;
  if (lent_to_ != nobody || events_ == nullptr || !device_->has_room()) return false;
  unwatch(epoll_.get(), device_->fd());
  lent_to_ = epoll;
  if (watch(epoll, device_->fd())) return true;
  take_back();
  return false;
}

bool DpdkPort::read_lent(int epoll) {
  const std::lock_guard lock{reading_};
  if (lent_to_ != epoll) return false;
  if (receive(*events_)) return true;
  // One who cannot receive would be woken all the time.
  if (device_->has_room() && device_->settle() == dpdk::Device::Settled::quiet) return true;
  take_back();
  return false;
}

void DpdkPort::give_back(int epoll) {
  const std::lock_guard lock{reading_};
  if (lent_to_ == epoll) take_back();
}

void DpdkPort::take_back() {
  unwatch(std::exchange(lent_to_, nobody), device_->fd());
  const bool watched = watch(epoll_.get(), device_->fd()).has_value();
  UNDERSTUDY_ASSERT(watched, "it was watched before");
}

/// Whoever has it may be busy, or gone.
void DpdkPort::look_after_lent() {
  const std::lock_guard lock{reading_};
  if (lent_to_ == nobody) return;
  pollfd waiting{device_->fd(), POLLIN, 0};
  if (::poll(&waiting, 1, 0) != 0) take_back();
}

/// Whether there was something.
bool DpdkPort::receive(DatagramEvents& events) {
  std::array<dpdk::Packet, dpdk::burst> packets;
  const auto got = device_->receive(packets);
  for (std::size_t i = 0; i < got; ++i) deliver(std::move(packets.at(i)), events);
  return got != 0;
}

void DpdkPort::deliver(dpdk::Packet packet, DatagramEvents& events) {
  const auto frame = packet.bytes();
  if (frame.size() < header_bytes || get(frame.subspan(type_at)) != ether_type) return;
  const auto size = get(frame.subspan(length_at));
  HostAddress to{};
  HostAddress from{};
  std::memcpy(to.data(), frame.data(), address_bytes);
  std::memcpy(from.data(), frame.data() + address_bytes, address_bytes);
  // An interface that somebody made promiscuous gives us what is for others.
  if (size > frame.size() - header_bytes || (to != device_->address() && to != every_host)) return;
  events.on_datagram(from, std::make_unique<DpdkDatagram>(std::move(packet), size));
}

void DpdkPort::sleep(DatagramEvents& events, bool lent) {
  if (!lent && !device_->has_room()) {
    // Datagrams wait in the ring, which would keep us awake, until the receiver gives some back.
    std::this_thread::sleep_for(limits::device_poll);
    return;
  }
  const bool look = !lent && device_->settle() == dpdk::Device::Settled::look_again;
  if (look && read(events) == Read::something) return;
  std::array<epoll_event, 3> happened{};
  const int count = ::epoll_wait(epoll_.get(), happened.data(), static_cast<int>(happened.size()),
                                 longest_sleep());
  bool carrier = count <= 0 && device_->carrier_fd() < 0;
  for (int i = 0; i < count; ++i) {
    const auto& event = happened.at(static_cast<std::size_t>(i));
    if (event.data.fd == wake_.get()) {
      eventfd_t ignored{};
      ::eventfd_read(wake_.get(), &ignored);
    }
    carrier |= event.data.fd == device_->carrier_fd() || (event.events & EPOLLERR) != 0;
  }
  if (carrier) {
    device_->settle_carrier();
    look_at_carrier(events);
  }
  push_stuck();
  if (count == 0) look_after_lent();
}

int DpdkPort::longest_sleep() const {
  if (stuck_ && carries_) return static_cast<int>(milliseconds{limits::device_kick}.count());
  // For the carrier of a device that does not tell of it, and for whoever the port is lent to.
  return static_cast<int>(milliseconds{limits::carrier_poll}.count());
}

void DpdkPort::look_at_carrier(DatagramEvents& events) {
  const bool carries = device_->carries();
  if (carries == carries_) return;
  carries_ = carries;
  if (carries) {
    // What the driver still has of before must not be in the way of what is sent on hearing this.
    stuck_ = true;
    push_stuck();
  }
  events.on_carrier(carries);
}

/// Without a carrier it stays stuck.
void DpdkPort::push_stuck() {
  if (!carries_) return;
  if (stuck_.exchange(false) && device_->kick() == dpdk::Device::Sent::stuck) stuck_ = true;
}

}  // namespace

Result<std::unique_ptr<DatagramPort>> open_dpdk_port(const DpdkPortOptions& options) {
  if (options.idle == DpdkIdle::poll && !options.core) {
    return fail(ErrorKind::invalid,
                "a port that polls needs a processor of its own; name its core");
  }
  dpdk::DeviceOptions device{};
  device.spec = options.device;
  device.ring_bytes = limits::datagram_ring_bytes;
  device.mtu = options.mtu;
  device.ether_type = ether_type;
  device.packet_bytes = limits::datagram_memory_bytes;
  UNDERSTUDY_TRY(auto opened, dpdk::Device::open(device));
  auto port = std::make_unique<DpdkPort>(std::move(opened), options);
  UNDERSTUDY_CHECK(port->prepare());
  log::info("dpdk_port.opened",
            {log::kv("device", options.device), log::kv("datagram_bytes", port->datagram_bytes()),
             log::kv("receive_room", port->receive_room())});
  return port;
}

}  // namespace understudy::replication
