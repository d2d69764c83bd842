// A guest, a gate and a session in memory.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "config/assert.hpp"
#include "hypervisor/machine.hpp"
#include "memory.hpp"
#include "netbuffer/output_gate.hpp"
#include "replication/checkpoint_sender.hpp"

namespace understudy::checkpointer {

/// A guest that writes when the test says so. One thread.
class FakeMachine final : public hypervisor::ActiveMachine {
 public:
  explicit FakeMachine(hypervisor::RamLayout layout, std::uint64_t seed = 1)
      : layout_{std::move(layout)},
        ram_(layout_.bytes()),
        devices_{random_bytes(seed, 3 * page_bytes + 100)},
        random_{seed} {}

  /// The guest scribbles over `count` random pages.
  void run(std::size_t count) {
    for (; count > 0; --count) {
      const auto page = pick(random_, layout_.pages());
      scribble(random_, std::span{ram_}.subspan(page * page_bytes, page_bytes));
      wrote(page);
    }
    scribble(random_, std::span{devices_}.first(page_bytes));
  }
  /// A write that dirty tracking misses.
  void write_unseen(std::uint64_t page) { ram_[page * page_bytes] ^= std::byte{1}; }
  void fill(std::uint64_t page, std::byte with) {
    std::ranges::fill(std::span{ram_}.subspan(page * page_bytes, page_bytes), with);
    wrote(page);
  }

  [[nodiscard]] const hypervisor::RamLayout& layout() const override { return layout_; }
  Result<> track() override {
    dirty_ = written_;
    return {};
  }
  Result<> pause(hypervisor::PauseFor /*purpose*/) override {
    wants_to_pause_ = true;
    if (!stopped_.owns_lock()) stopped_.lock();
    running_ = false;
    ++pauses;
    return {};
  }
  Result<> harvest(const hypervisor::PageSink& sink, std::uint64_t max_pages) override {
    // One pass: what the guest writes meanwhile comes next time.
    auto next = dirty_.begin();
    for (std::uint64_t scanned = 0; max_pages > 0 && next != dirty_.end(); --max_pages) {
      scanned = *next;
      dirty_.erase(next);
      UNDERSTUDY_CHECK(
          sink(PageIndex{scanned}, std::span{ram_}.subspan(scanned * page_bytes, page_bytes)));
      if (running_ && while_harvested) while_harvested();
      next = dirty_.upper_bound(scanned);
    }
    return {};
  }
  Result<> read(const hypervisor::PageSink& sink) override {
    if (while_compared) while_compared();
    return sink(PageIndex{0}, ram_);
  }
  Result<hypervisor::DeviceState> save_devices(hypervisor::Then then) override {
    UNDERSTUDY_ASSERT(!running_, "devices are saved while the guest is paused");
    if (then == hypervisor::Then::run_on) run_on();
    if (save_fails) return fail(ErrorKind::io, "no devices today");
    return hypervisor::DeviceState{devices_,
                                   {layout_.blocks()[0].max_bytes, page_bytes, 2 * page_bytes}};
  }
  Result<> resume() override {
    run_on();
    return {};
  }
  /// What its processor does while the machine runs. Another thread.
  template <class Work>
  void as_guest(const Work& work) {
    while (wants_to_pause_) std::this_thread::yield();
    const std::lock_guard lock{processor_};
    work();
  }

  [[nodiscard]] bool running() const { return running_; }
  [[nodiscard]] const std::vector<std::byte>& ram() const { return ram_; }
  [[nodiscard]] const std::vector<std::byte>& devices() const { return devices_; }

  int pauses{};
  bool save_fails{};
  std::function<void()> while_harvested;  ///< after each page, while the guest runs
  std::function<void()> while_compared;

 private:
  void wrote(std::uint64_t page) {
    UNDERSTUDY_ASSERT(running_, "a paused guest writes nothing");
    dirty_.insert(page);
    written_.insert(page);
  }

  void run_on() {
    running_ = true;
    wants_to_pause_ = false;
    if (stopped_.owns_lock()) stopped_.unlock();
  }

  hypervisor::RamLayout layout_;
  std::vector<std::byte> ram_;
  std::vector<std::byte> devices_;
  Random random_;
  std::set<std::uint64_t> written_;
  std::set<std::uint64_t> dirty_;
  bool running_{true};
  std::mutex processor_;
  std::unique_lock<std::mutex> stopped_{processor_, std::defer_lock};
  std::atomic<bool> wants_to_pause_{};
};

/// Packets are numbers. Thread-safe.
class FakeGate final : public netbuffer::OutputGate {
 public:
  /// Asked, on whatever thread, before the packets of an epoch leave.
  std::function<bool(Epoch)> may_release = [](Epoch) { return true; };
  std::function<void(Epoch)> while_sealed;

  void guest_sends(int packet) {
    const std::lock_guard lock{mutex_};
    if (holding_) {
      held_.emplace(sealed_.next(), packet);
    } else {
      left_.push_back(packet);
    }
  }
  void hold() override {
    const std::lock_guard lock{mutex_};
    holding_ = true;
  }
  void tighten() override { hold(); }
  void seal(Epoch epoch) override {
    if (while_sealed) while_sealed(epoch);
    const std::lock_guard lock{mutex_};
    in_order_ = in_order_ && holding_ && epoch == sealed_.next();
    sealed_ = epoch;
  }
  void release(Epoch epoch) override {
    const bool may = may_release(epoch);
    const std::lock_guard lock{mutex_};
    in_order_ = in_order_ && may && epoch <= sealed_;
    while (!held_.empty() && held_.begin()->first <= epoch) {
      left_.push_back(held_.begin()->second);
      held_.erase(held_.begin());
    }
  }
  void open() override {}
  void close() override {}
  [[nodiscard]] netbuffer::GateStatus status() const override { return {}; }

  [[nodiscard]] Epoch sealed() const { return with(sealed_); }
  [[nodiscard]] bool in_order() const { return with(in_order_); }
  [[nodiscard]] bool holding() const { return with(holding_); }
  [[nodiscard]] std::vector<int> left() const { return with(left_); }

 private:
  template <class T>
  T with(const T& member) const {
    const std::lock_guard lock{mutex_};
    return member;
  }

  mutable std::mutex mutex_;
  std::multimap<Epoch, int> held_;  ///< equal keys keep their order
  std::vector<int> left_;
  Epoch sealed_;
  bool holding_{};
  bool in_order_{true};
};

/// Keeps what is submitted until `forget`.
class FakeSender final : public replication::CheckpointSender {
 public:
  struct Frame {
    replication::FrameBuffer buffer;
    replication::FrameType type;
    Epoch epoch;
    [[nodiscard]] std::span<const std::byte> payload() const { return buffer.payload(); }
  };

  explicit FakeSender(std::size_t limit) : pool_{*replication::FramePool::create(limit)} {}

  Result<replication::FrameBuffer> acquire(Duration /*patience*/) override {
    ++acquired;
    auto frame = pool_->acquire(Duration{});
    if (!frame && frame.error().kind == ErrorKind::timed_out && when_full) when_full();
    return frame;
  }
  void relay_input(std::vector<std::byte> /*payload*/, Epoch /*epoch*/) override {}
  void submit(replication::FrameBuffer buffer, replication::FrameType type, Epoch epoch) override {
    frames.push_back({std::move(buffer), type, epoch});
  }
  [[nodiscard]] replication::SenderStatus status() const override { return {}; }
  void stop(const std::string& /*reason*/) override { pool_->close(); }

 private:
  std::unique_ptr<replication::FramePool> pool_;

 public:
  std::vector<Frame> frames;  ///< back in the pool before it ends
  std::function<void()> when_full;
  int acquired{};
};

}  // namespace understudy::checkpointer
