// Two ports of datagrams in one process, each in its own network namespace, a cable between them.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "config/clock.hpp"
#include "replication/dpdk_port.hpp"
#include "tests/integration/dpdk/two_networks.hpp"

namespace understudy::testing {

using replication::DatagramEvents;
using replication::DatagramPointer;
using replication::DatagramPort;
using replication::DpdkPortOptions;
using replication::HostAddress;

/// Keeps what comes until it is told to forget it.
class Inbox : public DatagramEvents {
 public:
  struct Arrived {
    HostAddress from;
    DatagramPointer datagram;
    TimePoint when;
    std::thread::id thread;
  };

  void on_datagram(const HostAddress& from, DatagramPointer datagram) override {
    const auto when = now();
    const std::lock_guard lock{mutex_};
    arrived_.push_back({from, std::move(datagram), when, std::this_thread::get_id()});
    ++count_;
    changed_.notify_all();
  }
  void on_carrier(bool up) override {
    const std::lock_guard lock{mutex_};
    carrier_ = up;
    changed_.notify_all();
  }

  [[nodiscard]] bool wait_count(std::size_t count) {
    return wait([&] { return count_ >= count; });
  }
  [[nodiscard]] bool wait_carrier(bool up) {
    return wait([&] { return carrier_ == up; });
  }
  [[nodiscard]] bool wait_some(Duration patience) {
    return wait([&] { return !arrived_.empty(); }, patience);
  }
  [[nodiscard]] Arrived next() {
    REQUIRE(wait([&] { return !arrived_.empty(); }));
    const std::lock_guard lock{mutex_};
    auto first = std::move(arrived_.front());
    arrived_.pop_front();
    return first;
  }

 private:
  template <class Condition>
  bool wait(Condition condition, Duration patience = seconds{5}) {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, patience, condition);
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Arrived> arrived_;
  std::size_t count_{};
  bool carrier_{true};
};

inline std::unique_ptr<DatagramPort> open_in(const Network& network, DpdkPortOptions options) {
  Result<std::unique_ptr<DatagramPort>> port = fail(ErrorKind::io, "not tried");
  network.in([&] { port = open_dpdk_port(options); });
  INFO((port ? "" : port.error().message));
  REQUIRE(port);
  return std::move(*port);
}

/// Hosts a and b, their ports started.
struct Pair {
  explicit Pair(std::size_t mtu, DpdkPortOptions options = {"repl0"}) : networks{mtu} {
    a = open_in(networks.a, options);
    b = open_in(networks.b, options);
    a->start(at_a);
    b->start(at_b);
  }
  ~Pair() {
    a->stop();
    b->stop();
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  TwoNetworks networks;
  std::unique_ptr<DatagramPort> a;
  std::unique_ptr<DatagramPort> b;
  Inbox at_a;  // forgets its buffers before the ports go
  Inbox at_b;
};

inline void fill(std::span<std::byte> bytes, std::size_t seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>((i * 131 + seed * 7919) >> 3U);
  }
}

inline bool filled(std::span<const std::byte> bytes, std::size_t seed) {
  std::vector<std::byte> wanted(bytes.size());
  fill(wanted, seed);
  return std::equal(bytes.begin(), bytes.end(), wanted.begin());
}

inline void send(DatagramPort& port, const HostAddress& to, std::size_t bytes, std::size_t seed) {
  auto datagram = port.allocate();
  REQUIRE(datagram);
  fill(datagram->bytes().first(bytes), seed);
  port.send(to, std::move(datagram), bytes);
}

inline Duration processor_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](timeval time) { return seconds{time.tv_sec} + microseconds{time.tv_usec}; };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

/// The share of one processor that the process takes while the test sleeps.
inline double load_over(Duration span) {
  const auto before = processor_time();
  std::this_thread::sleep_for(span);
  return std::chrono::duration<double>(processor_time() - before) /
         std::chrono::duration<double>(span);
}

inline double in_us(Duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

/// From a's `send` of a sparse datagram to its delivery at b, shortest first.
inline std::vector<Duration> one_way_times(Pair& pair) {
  std::vector<Duration> waits;
  for (std::size_t i = 0; i < 300; ++i) {
    std::this_thread::sleep_for(milliseconds{3});
    auto datagram = pair.a->allocate();
    REQUIRE(datagram);
    const auto begin = now();
    pair.a->send(pair.b->address(), std::move(datagram), 64);
    waits.push_back(pair.at_b.next().when - begin);
  }
  std::sort(waits.begin(), waits.end());
  return waits;
}

/// From a to b, never more than b's receive room on their way: nothing is lost.
inline void carry_all(Pair& pair, std::size_t count) {
  const auto window = pair.b->receive_room();
  const auto bytes = pair.a->datagram_bytes();
  std::atomic<std::size_t> taken{};
  std::thread reader{[&] {
    for (std::size_t i = 0; i < count; ++i) {
      const auto one = pair.at_b.next();  // given back here, on a thread that is not the port's
      if (one.datagram->bytes().size() != bytes || !filled(one.datagram->bytes(), i)) break;
      ++taken;
    }
  }};
  const auto begin = now();
  for (std::size_t i = 0; i < count; ++i) {
    while (i - taken >= window && now() - begin < seconds{30}) std::this_thread::yield();
    send(*pair.a, pair.b->address(), bytes, i);
  }
  reader.join();
  CHECK(taken == count);
  CHECK(pair.b->counters().missed == 0);
  CHECK(pair.b->counters().received == count);
  CHECK(pair.a->counters().sent == count);
}

/// b holds `sent` datagrams and a fills b's ring: nothing is lost, nor does anybody spin.
inline void fill_ring_and_take(Pair& pair, std::size_t sent) {
  for (std::size_t i = 0; i < pair.b->receive_room(); ++i) {
    send(*pair.a, pair.b->address(), 1000, sent++);
  }
  CHECK(load_over(milliseconds{500}) < 0.2);
  for (std::size_t i = 0; i < sent; ++i) {
    const auto one = pair.at_b.next();
    REQUIRE(filled(one.datagram->bytes(), i));
  }
  CHECK(pair.b->counters().missed == 0);
}

}  // namespace understudy::testing
