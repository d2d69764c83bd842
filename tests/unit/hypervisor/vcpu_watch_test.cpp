#include "hypervisor/vcpu_watch.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <semaphore>
#include <thread>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::hypervisor;

namespace {

/// A thread that works or sleeps, as a vCPU does.
class Processor {
 public:
  Processor() : thread_{[this] { run(); }} {
    while (id_ == 0) std::this_thread::yield();
  }
  ~Processor() {
    halts_ = true;
    interrupt_.release();
    thread_.join();
  }
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;

  void halt() { halts_ = true; }
  [[nodiscard]] pid_t id() const { return id_; }

 private:
  void run() {
    id_ = ::gettid();
    while (!halts_) {
    }
    interrupt_.acquire();
  }

  std::atomic<pid_t> id_{};
  std::atomic<bool> halts_{};
  std::binary_semaphore interrupt_{0};
  std::thread thread_;
};

/// As long as it takes: the test's time limit is the only one.
void wait_until_asleep(const VcpuWatch& watch) {
  while (!watch.all_asleep()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

}  // namespace

TEST_CASE("processors are idle when all of them sleep") {
  Processor one;
  Processor other;
  const auto watch = VcpuWatch::open(::getpid(), std::array{one.id(), other.id()});
  REQUIRE(watch);
  CHECK_FALSE(watch->all_asleep());
  one.halt();
  wait_until_asleep(*VcpuWatch::open(::getpid(), std::array{one.id()}));
  CHECK_FALSE(watch->all_asleep());
  other.halt();
  wait_until_asleep(*watch);
}

TEST_CASE("a machine without processors is not idle, and one whose threads are gone neither") {
  CHECK_FALSE(VcpuWatch::open(::getpid(), {})->all_asleep());
  std::optional<Processor> gone{std::in_place};
  gone->halt();
  const auto watch = VcpuWatch::open(::getpid(), std::array{gone->id()});
  REQUIRE(watch);
  wait_until_asleep(*watch);
  gone.reset();
  CHECK_FALSE(watch->all_asleep());
}
