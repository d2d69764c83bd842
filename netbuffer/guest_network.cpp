#include "netbuffer/guest_network.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "config/assert.hpp"
#include "config/limits.hpp"
#include "config/priority.hpp"
#include "netbuffer/announcement.hpp"

namespace understudy::netbuffer {
namespace {

// What an epoll event is about: two tokens for each NIC, then these.
constexpr std::uint64_t wake_token = 2 * limits::nics_per_guest;
constexpr std::uint64_t timer_token = wake_token + 1;
constexpr std::uint64_t retry_token = wake_token + 2;
constexpr std::uint64_t guest_token(std::size_t nic) {
  return 2 * nic;
}
constexpr std::uint64_t uplink_token(std::size_t nic) {
  return 2 * nic + 1;
}

Result<> add(int epoll, int fd, std::uint32_t interest, std::uint64_t token) {
  epoll_event event{};
  event.events = interest;
  event.data.u64 = token;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno("epoll_ctl");
  return {};
}

void forget_ticks(int fd) {
  std::uint64_t ticks{};
  [[maybe_unused]] const auto got = ::read(fd, &ticks, sizeof ticks);
}

void signal(int eventfd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto put = ::write(eventfd, &one, sizeof one);
}

}  // namespace

/// A NIC and what epoll watches for it now.
struct GuestNetwork::Watched {
  NicPath path;
  std::optional<std::uint32_t> guest_interest;
  std::optional<std::uint32_t> uplink_interest;
};

GuestNetwork::GuestNetwork(std::vector<GuestNic> nics, std::size_t hold_bytes,
                           GuestNetworkEvents events)
    : events_{std::move(events)}, hold_bytes_{hold_bytes} {
  nics_.reserve(nics.size());
  for (auto& nic : nics) {
    nics_.push_back({NicPath{std::move(nic.guest), nic.mac, std::move(nic.uplink), hold_bytes},
                     std::nullopt, std::nullopt});
  }
}

Result<std::shared_ptr<GuestNetwork>> GuestNetwork::start(std::vector<GuestNic> nics,
                                                          std::size_t hold_bytes,
                                                          GuestNetworkEvents events) {
  if (nics.size() > limits::nics_per_guest) {
    return fail(ErrorKind::limit, "a guest has at most {} NICs, not {}", limits::nics_per_guest,
                nics.size());
  }
  if (hold_bytes < limits::packet_bytes) {
    return fail(ErrorKind::invalid, "{} bytes cannot hold one packet of {}", hold_bytes,
                limits::packet_bytes);
  }
  for (const auto& nic : nics) UNDERSTUDY_ASSERT(nic.guest && nic.uplink, "a NIC has two ends");
  std::shared_ptr<GuestNetwork> network{
      new GuestNetwork{std::move(nics), hold_bytes, std::move(events)}};
  UNDERSTUDY_CHECK(network->prepare());
  network->thread_ = std::thread{[raw = network.get()] { raw->run(); }};
  return network;
}

Result<> GuestNetwork::prepare() {
  epoll_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
  wake_ = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  timer_ = UniqueFd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  retry_ = UniqueFd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!epoll_ || !wake_ || !timer_ || !retry_) return fail_errno("preparing a guest's network");
  UNDERSTUDY_CHECK(add(epoll_.get(), wake_.get(), EPOLLIN, wake_token));
  UNDERSTUDY_CHECK(add(epoll_.get(), timer_.get(), EPOLLIN, timer_token));
  UNDERSTUDY_CHECK(add(epoll_.get(), retry_.get(), EPOLLIN, retry_token));
  for (std::size_t i = 0; i < nics_.size(); ++i) {
    auto& nic = nics_[i];
    nic.guest_interest = nic.uplink_interest = EPOLLIN;
    UNDERSTUDY_CHECK(add(epoll_.get(), nic.path.guest_fd(), EPOLLIN, guest_token(i)));
    UNDERSTUDY_CHECK(add(epoll_.get(), nic.path.uplink_fd(), EPOLLIN, uplink_token(i)));
  }
  return {};
}

GuestNetwork::~GuestNetwork() {
  stop();
}

void GuestNetwork::stop() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
    shut();
  }
  if (!thread_.joinable()) return;
  UNDERSTUDY_ASSERT(thread_.get_id() != std::this_thread::get_id(), "a handler must not stop it");
  signal(wake_.get());
  thread_.join();
}

void GuestNetwork::run() {
  static_cast<void>(ask_for_real_time());  // it never works long
  std::array<epoll_event, 2 * limits::nics_per_guest + 3> events;
  while (true) {
    const int ready =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    // One event for each taking of the lock: a seal must not wait for all of them.
    for (int i = 0; i < ready; ++i) {
      const auto& event = events.at(static_cast<std::size_t>(i));
      const std::lock_guard lock{mutex_};
      if (stopping_) return;
      handle(event.data.u64, event.events);
    }
    std::unique_lock lock{mutex_};
    const auto news = collect_news();
    lock.unlock();
    tell(news);
  }
}

void GuestNetwork::handle(std::uint64_t token, std::uint32_t happened) {
  if (token == wake_token) {
    forget_ticks(wake_.get());
  } else if (token == timer_token) {
    forget_ticks(timer_.get());
    announce_again();
  } else if (token == retry_token) {
    forget_ticks(retry_.get());
    try_uplinks_again();
  } else {
    auto& path = nics_[token / 2].path;
    if (token == uplink_token(token / 2)) {
      path.take_ingress(state_);
      note_input(token / 2);
    } else {
      if ((happened & EPOLLOUT) != 0) path.finish_ingress(state_);
      path.take_egress(state_, NicPath::Amount::one_read, now());
      path.give_waiting(state_);
      if ((happened & (EPOLLHUP | EPOLLERR)) != 0) path.hung_up();
    }
    watch(token / 2);
  }
}

/// Under the same lock as the giving: it belongs to the epoch that runs now.
void GuestNetwork::note_input(std::size_t nic) {
  auto copies = nics_[nic].path.take_copies();
  if (!events_.on_input || copies.empty()) return;
  for (auto& frame : copies) input_.push_back({nic, sealed_.next(), std::move(frame)});
}

void GuestNetwork::tell(const News& news) const {
  if (news.output && events_.on_output) events_.on_output(*news.output);
  if (news.pressure && events_.on_pressure) events_.on_pressure(*news.pressure);
  if (!news.input.empty()) events_.on_input(news.input);
  if (news.gone && events_.on_guest_gone) events_.on_guest_gone(*news.gone);
}

bool GuestNetwork::has_news() const {
  return std::any_of(nics_.begin(), nics_.end(), [&](const Watched& nic) {
    const bool output = state_ == GateState::holding && !nic.path.queue().running_epoch_empty();
    return (output && !output_told_) || presses(nic.path) || (nic.path.gone() && !gone_told_);
  });
}

bool GuestNetwork::presses(const NicPath& path) const {
  return state_ == GateState::holding && !pressure_told_ && path.presses();
}

GuestNetwork::News GuestNetwork::collect_news() {
  News news;
  std::swap(news.input, input_);
  for (const auto& nic : nics_) {
    if (state_ == GateState::holding && !output_told_ && !nic.path.queue().running_epoch_empty()) {
      news.output = sealed_;
      output_told_ = true;
    }
    if (presses(nic.path)) {
      news.pressure = sealed_;
      pressure_told_ = true;
    }
    if (nic.path.gone() && !gone_told_) {
      news.gone = nic.path.gone();
      gone_told_ = true;
    }
  }
  return news;
}

/// Makes epoll watch for what the NIC can use now; a stalled one makes QEMU wait.
void GuestNetwork::watch(std::size_t index) {
  auto& nic = nics_[index];
  const auto change = [&](int fd, std::uint64_t token, std::optional<std::uint32_t>& current,
                          std::optional<std::uint32_t> wanted) {
    if (current == wanted) return;
    epoll_event event{};
    event.events = wanted.value_or(0);
    event.data.u64 = token;
    const int change_it = !wanted ? EPOLL_CTL_DEL : current ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    const int changed = ::epoll_ctl(epoll_.get(), change_it, fd, &event);
    UNDERSTUDY_ASSERT(changed == 0, "what was added to epoll can be changed");
    current = wanted;
  };
  change(nic.path.guest_fd(), guest_token(index), nic.guest_interest,
         nic.path.guest_interest(state_));
  change(nic.path.uplink_fd(), uplink_token(index), nic.uplink_interest,
         nic.path.uplink_interest(state_));
  if (!nic.path.uplink_full()) return;
  itimerspec soon{};
  soon.it_value.tv_nsec = std::chrono::nanoseconds{limits::device_kick}.count();
  ::timerfd_settime(retry_.get(), 0, &soon, nullptr);
}

/// After a verb on the caller's thread: epoll and the thread learn what has changed.
void GuestNetwork::settle() {
  for (std::size_t i = 0; i < nics_.size(); ++i) watch(i);
  if (has_news()) signal(wake_.get());
}

void GuestNetwork::take_egress(NicPath::Amount amount, TimePoint when) {
  for (auto& nic : nics_) nic.path.take_egress(state_, amount, when);
}

void GuestNetwork::hold() {
  const std::lock_guard lock{mutex_};
  if (!stopping_ && state_ != GateState::holding) start_holding();
}

void GuestNetwork::tighten() {
  const std::lock_guard lock{mutex_};
  if (state_ == GateState::open) start_holding();
}

void GuestNetwork::start_holding() {
  state_ = GateState::holding;
  output_told_ = pressure_told_ = false;
  take_egress(NicPath::Amount::all, now());
  settle();
}

void GuestNetwork::seal(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  if (state_ == GateState::holding) take_egress(NicPath::Amount::all, now());
  for (auto& nic : nics_) nic.path.seal(epoch);
  sealed_ = epoch;
  output_told_ = pressure_told_ = false;
  settle();
}

void GuestNetwork::release(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  if (state_ != GateState::holding) return;
  const auto when = now();
  for (auto& nic : nics_) {
    nic.path.queue().release(epoch);
    nic.path.send_released(when, hold_times_);
  }
  take_egress(NicPath::Amount::none, when);
  settle();
}

void GuestNetwork::open() {
  const std::lock_guard lock{mutex_};
  if (stopping_) return;
  state_ = GateState::open;
  const auto when = now();
  for (auto& nic : nics_) {
    nic.path.queue().release_all();
    nic.path.send_released(when, hold_times_);
  }
  take_egress(NicPath::Amount::none, when);
  settle();
}

void GuestNetwork::close() {
  const std::lock_guard lock{mutex_};
  shut();
}

void GuestNetwork::shut() {
  state_ = GateState::closed;
  for (auto& nic : nics_) nic.path.drop_held();
  take_egress(NicPath::Amount::none, now());
  settle();
}

GateStatus GuestNetwork::status() const {
  std::unique_lock lock{mutex_};
  GateStatus status{};
  status.state = state_;
  const auto when = now();
  for (const auto& nic : nics_) {
    const auto& queue = nic.path.queue();
    const auto& counters = nic.path.counters();
    status.held_packets += queue.packets();
    status.held_bytes += queue.bytes();
    if (const auto oldest = queue.oldest()) status.oldest = std::max(status.oldest, when - *oldest);
    status.released_packets += counters.released_packets;
    status.egress_dropped += counters.egress_dropped;
    status.ingress_packets += counters.ingress_packets;
    status.ingress_dropped += counters.ingress_dropped;
    status.ingress_cut += counters.ingress_cut;
    status.full += counters.full;
  }
  status.hold_limit = hold_bytes_ * nics_.size();
  const auto times = hold_times_;
  lock.unlock();
  const auto held = times.quantiles();
  status.hold_p50 = held.p50;
  status.hold_p99 = held.p99;
  status.hold_max = held.max;
  return status;
}

void GuestNetwork::try_uplinks_again() {
  const auto when = now();
  for (auto& nic : nics_) {
    if (nic.path.uplink_full()) nic.path.send_released(when, hold_times_);
  }
  take_egress(NicPath::Amount::none, when);
  settle();
}

void GuestNetwork::give(std::size_t nic, std::span<const std::byte> frame) {
  const std::lock_guard lock{mutex_};
  if (nic >= nics_.size()) return;
  nics_[nic].path.give_again(state_, frame);
  watch(nic);
}

void GuestNetwork::announce() {
  const std::lock_guard lock{mutex_};
  announced_ = 0;
  announce_again();
}

void GuestNetwork::announce_again() {
  if (state_ == GateState::closed) return;
  for (auto& nic : nics_) nic.path.announce();
  if (++announced_ == announcement_times.size()) return;
  const auto wait = announcement_times.at(announced_) - announcement_times.at(announced_ - 1);
  itimerspec next{};
  next.it_value.tv_nsec = std::chrono::nanoseconds{wait}.count();
  ::timerfd_settime(timer_.get(), 0, &next, nullptr);
}

}  // namespace understudy::netbuffer
