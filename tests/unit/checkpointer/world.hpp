// A primary with a guest in memory, and a real session over loopback to a backup in this process.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "../replication/tcp_relay.hpp"
#include "checkpointer/primary.hpp"
#include "checkpointer/replica.hpp"
#include "disk_world.hpp"
#include "fakes.hpp"

namespace understudy::checkpointer {

/// A replica that can be made slow, and knows which epochs it has found whole. Thread-safe.
class WatchedReplica final : public replication::ReplicaEvents {
 public:
  explicit WatchedReplica(std::shared_ptr<Replica> replica) : replica_{std::move(replica)} {}

  Result<> on_sync_pages(std::span<const std::byte> payload) override {
    return replica_->on_sync_pages(payload);
  }
  Result<> on_check(std::span<const std::byte> payload) override {
    wait_while_blocked();
    return replica_->on_check(payload);
  }
  Result<> on_check_seal(const replication::Seal& seal) override {
    wait_while_blocked();
    auto checked = replica_->on_check_seal(seal);
    const std::lock_guard lock{mutex_};
    if (checked) whole_ = whole_.next();
    return checked;
  }
  Result<> on_sync_disk(std::span<const std::byte> payload) override {
    return replica_->on_sync_disk(payload);
  }
  Result<> on_check_disk(std::span<const std::byte> payload) override {
    return replica_->on_check_disk(payload);
  }
  void on_commit(const replication::StagedEpoch& epoch) override { replica_->on_commit(epoch); }
  replication::Reply on_request(const replication::Request& request,
                                const replication::KeepGoing& keep_going) override {
    ++asked_;
    if (request.has_disk_map() || request.has_disk_digest()) ++asked_of_disks_;
    wait_while_blocked();
    return replica_->on_request(request, keep_going);
  }
  void on_end(const Error& reason) override { replica_->on_end(reason); }

  void block() {
    const std::lock_guard lock{mutex_};
    blocked_ = true;
  }
  void unblock() {
    const std::lock_guard lock{mutex_};
    blocked_ = false;
    changed_.notify_all();
  }
  [[nodiscard]] int asked() const { return asked_; }
  [[nodiscard]] int asked_of_disks() const { return asked_of_disks_; }
  [[nodiscard]] Epoch whole() const {
    const std::lock_guard lock{mutex_};
    return whole_;
  }

 private:
  void wait_while_blocked() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return !blocked_; });
  }

  std::shared_ptr<Replica> replica_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool blocked_{};
  std::atomic<int> asked_{};
  std::atomic<int> asked_of_disks_{};
  Epoch whole_;
};

class Backup {
 public:
  explicit Backup(const hypervisor::RamLayout& layout, std::unique_ptr<DiskReplica> disks = nullptr)
      : image_(layout.bytes()) {
    replica_ = *Replica::create(
        layout, image_, [](const Error&) {}, [](Epoch) {}, std::move(disks), nullptr, image_);
    watched_ = std::make_shared<WatchedReplica>(replica_);
    server_ = std::move(*replication::ReplicationServer::listen(
        {"127.0.0.1", 0}, "c1", "b",
        [this](const replication::Offer& offer,
               const std::string&) -> Result<std::shared_ptr<replication::ReplicaEvents>> {
          if (offer.guest().name() != "pg") return fail(ErrorKind::incompatible, "not this guest");
          return watched_;
        }));
  }
  Backup(const Backup&) = delete;
  Backup& operator=(const Backup&) = delete;
  ~Backup() { stop(); }

  [[nodiscard]] WatchedReplica& replica() { return *watched_; }
  [[nodiscard]] Endpoint endpoint() const { return server_->endpoint(); }
  /// What is there from before; first of all.
  void remember(const std::vector<std::byte>& memory) { std::ranges::copy(memory, image_.begin()); }
  void end_session() { server_->end_session("pg", "the test says so"); }
  void stop() {
    watched_->unblock();
    server_->stop();
  }
  /// After `stop`.
  [[nodiscard]] const std::vector<std::byte>& image() const { return image_; }
  [[nodiscard]] hypervisor::DeviceState devices() const { return replica_->devices(); }
  [[nodiscard]] Result<> finish_disks() { return replica_->finish_disks(); }

 private:
  std::vector<std::byte> image_;
  std::shared_ptr<Replica> replica_;
  std::shared_ptr<WatchedReplica> watched_;
  std::unique_ptr<replication::ReplicationServer> server_;
};

/// The test's thread is the engine's.
class World {
 public:
  struct Pace {
    std::uint32_t interval_ms;
    std::uint32_t min_interval_ms;
  };
  /// `disks`: null for a guest without.
  explicit World(std::uint64_t seed = 1, Pace pace = {4, 2}, std::uint64_t pages = 200,
                 DiskPair* disks = nullptr)
      : machine{layout_of_pages(pages), seed},
        backup{machine.layout(), replica_of(disks)},
        relay{backup.endpoint()},
        disks_{disks} {
    settings_.set_interval_ms(pace.interval_ms);
    settings_.set_min_interval_ms(pace.min_interval_ms);
    settings_.set_epochs_in_flight(3);
    gate.may_release = [this](Epoch epoch) { return backup.replica().whole() >= epoch; };
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() { backup.replica().unblock(); }

  [[nodiscard]] Result<> open(const std::string& guest = "pg") {
    replication::Offer offer;
    offer.mutable_guest()->set_name(guest);
    for (const auto& block : machine.layout().blocks()) {
      auto* message = offer.add_ram_block();
      message->set_name(block.name);
      message->set_used_bytes(block.used_bytes);
      message->set_max_bytes(block.max_bytes);
    }
    if (disks_ != nullptr) {
      for (const auto bytes : disks_->active->sizes()) offer.add_disk_bytes(bytes);
    }
    Primary::Events events;
    events.wake = [this] { note([&] { woken_ = true; }); };
    events.first_commit = [this](Epoch) { note([&] { ++first_commits_; }); };
    events.lost = [this](const Error& why) { note([&] { lost_ = why.message; }); };
    events.cancelled = [this] { return with(cancelled_); };
    UNDERSTUDY_TRY(primary, Primary::open(machine, gate, settings_,
                                          {{"c1", "a", "b", relay.endpoint()},
                                           offer,
                                           disks_ != nullptr ? disks_->active.get() : nullptr},
                                          std::move(events)));
    return {};
  }

  /// The guest was there before.
  void remember_at_backup() { backup.remember(machine.ram()); }

  /// Opens a session and synchronises.
  [[nodiscard]] Result<> protect() {
    machine.run(300);
    UNDERSTUDY_CHECK(open());
    return primary->synchronise();
  }

  /// What the engine does between two waits; the guest works if it runs.
  [[nodiscard]] Result<> step(std::size_t writes = 10) {
    if (machine.running() && writes > 0) {
      machine.run(writes);
      gate.guest_sends(packets++);
      primary->output_waits(gate.sealed(), now());
    }
    UNDERSTUDY_TRY(const auto until, primary->act());
    std::unique_lock lock{mutex_};
    changed_.wait_until(lock, std::min(until, now() + milliseconds{20}), [&] { return woken_; });
    woken_ = false;
    return {};
  }

  /// Steps until `done`; false after half a minute or an error.
  template <class Condition>
  [[nodiscard]] bool run_until(Condition done, std::size_t writes = 10) {
    const auto deadline = now() + seconds{30};
    while (!done()) {
      if (now() > deadline || !step(writes)) return false;
    }
    return true;
  }

  /// Steps until the backup holds all that the guest has written.
  [[nodiscard]] bool settle() {
    const auto enough = gate.sealed().next();
    return run_until([&] { return primary->status().committed >= enough; }, 0);
  }

  /// From the order to the verdict, with the guest at work or not.
  [[nodiscard]] Result<VerifyVerdict> verify(Repair repair = Repair::no, std::size_t writes = 0) {
    std::optional<Result<VerifyVerdict>> verdict;
    primary->verify({repair, [](const std::string&, double) {},
                     [&](Result<VerifyVerdict> said) { verdict = std::move(said); }});
    const bool ended = run_until([&] { return verdict.has_value(); }, writes);
    if (!ended) primary->stop_verifying({ErrorKind::timed_out, "no verdict"});
    return *verdict;
  }

  [[nodiscard]] bool replica_is_equal() {
    backup.stop();
    const auto devices = backup.devices();
    return backup.image() == machine.ram() && std::ranges::equal(devices.bytes, machine.devices());
  }

  void cancel(bool whether) {
    note([&] { cancelled_ = whether; });
  }
  [[nodiscard]] int first_commits() const { return with(first_commits_); }
  [[nodiscard]] std::string lost() const { return with(lost_); }

  FakeMachine machine;
  FakeGate gate;
  Backup backup;
  replication::TcpRelay relay;
  int packets{};

 private:
  template <class Change>
  void note(Change change) {
    const std::lock_guard lock{mutex_};
    change();
    changed_.notify_all();
  }
  template <class T>
  T with(const T& member) const {
    const std::lock_guard lock{mutex_};
    return member;
  }

  static std::unique_ptr<DiskReplica> replica_of(DiskPair* disks) {
    if (disks == nullptr) return nullptr;
    disks->standby->set_mode(DiskMode::standby);
    return *DiskReplica::create(*disks->standby, DiskState{disks->there.path(), "pg"});
  }

  DiskPair* disks_;
  config::Protection settings_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_{};
  bool cancelled_{};
  int first_commits_{};
  std::string lost_;

 public:
  std::unique_ptr<Primary> primary;  ///< last: its session ends before what it reports to
};

}  // namespace understudy::checkpointer
