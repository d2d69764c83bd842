#include "checkpointer/guest_engine.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <future>

#include "checkpointer/guest_import.hpp"
#include "checkpointer/guest_wiring.hpp"
#include "checkpointer/offer.hpp"
#include "config/assert.hpp"
#include "config/file_space.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"

namespace understudy::checkpointer {
namespace {

/// Told to whoever asked, whatever becomes of it.
void answer(const GuestEngine::Done& done, Result<> result) {
  if (done) done(std::move(result));
}

}  // namespace

GuestEngine::GuestEngine(std::string name, const std::string& state_dir, Report report)
    : name_{std::move(name)},
      report_{std::move(report)},
      state_dir_{state_dir},
      disk_state_{state_dir, name_},
      wake_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  UNDERSTUDY_ASSERT(wake_, "an eventfd can always be had");
  thread_ = std::thread{[this] { run(); }};
}

GuestEngine::~GuestEngine() {
  close_output();
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

Result<> GuestEngine::need_phase(std::initializer_list<EnginePhase> wanted,
                                 std::string_view remedy) const {
  const std::lock_guard lock{mutex_};
  if (closing_) return fail(ErrorKind::closed, "this host's daemon is stopping");
  if (std::find(wanted.begin(), wanted.end(), phase_) != wanted.end()) return {};
  return fail(ErrorKind::conflict, "guest {} {}", name_, remedy);
}

// --- requests

void GuestEngine::post(std::function<void()> work, Urgency urgency) {
  {
    const std::lock_guard lock{mutex_};
    requests_.push_back({std::move(work), urgency});
  }
  ::eventfd_write(wake_.get(), 1);
}

void GuestEngine::start(const config::Guest& guest, DiskTrust trust, Done done) {
  post([this, guest, trust, done = std::move(done)] { answer(done, do_start(guest, trust)); });
}

void GuestEngine::import_from(const config::Guest& guest, const std::string& path, Tell tell,
                              Done done) {
  post([this, guest, path, tell = std::move(tell), done = std::move(done)] {
    answer(done, do_import(guest, path, tell));
  });
}

void GuestEngine::protect(const replication::SenderParties& parties, Term term, Done done) {
  post([this, parties, term, done = std::move(done)] { answer(done, do_protect(parties, term)); });
}

void GuestEngine::end_protection(const std::string& reason, Done done) {
  post([this, reason, done = std::move(done)] { answer(done, do_end_protection(reason)); },
       Urgency::interrupts);
}

void GuestEngine::promote(Output output, std::optional<RewindOrder> rewind,
                          std::function<void(Promotion)> done) {
  post([this, output, rewind = std::move(rewind), done = std::move(done)] {
    done(do_promote(output, rewind));
  });
}

void GuestEngine::hand_over(std::function<void(Result<TimePoint>)> done) {
  post([this, done = std::move(done)] { done(do_hand_over()); });
}

void GuestEngine::suspend(Done done) {
  const auto work = [this, done = std::move(done)] {
    if (!machine_) return answer(done, {});  // it died meanwhile: the next one is not suspended
    suspended_ = true;
    if (primary_) primary_->stop_verifying(suspended());
    answer(done, pause_machine());
  };
  post(work, Urgency::interrupts);
}

void GuestEngine::resume(Done done) {
  post([this, done = std::move(done)] {
    suspended_ = false;
    for (const auto& detour : detours()) detour->give_back();
    const bool stalled = primary_ && primary_->stalled();
    answer(done, machine_ && !stalled ? machine_->resume() : Result<>{});
  });
}

GuestEngine::Detours GuestEngine::detours() const {
  const std::lock_guard lock{mutex_};
  return detours_;
}

void GuestEngine::stop(Done done) {
  for (const auto& detour : detours()) detour->send_after();
  close_output();
  const auto work = [this, done = std::move(done)] {
    do_stop();
    answer(done, {});
  };
  post(work, Urgency::interrupts);
}

void GuestEngine::verify(VerifyOrder order) {
  post([this, order = std::move(order)] {
    if (!primary_)
      return order.done(fail(ErrorKind::conflict, "guest {} is not protected from here", name_));
    if (suspended_) return order.done(fail(suspended()));
    primary_->verify(order);
  });
}

Error GuestEngine::suspended() const {
  return {ErrorKind::conflict, fmt::format("guest {} is suspended: there is no quorum", name_)};
}

void GuestEngine::clone_source(std::function<void(Result<CloneSource>)> done) {
  post([this, done = std::move(done)] {
    if (!replica_) return done(fail(ErrorKind::conflict, "guest {} has no replica here", name_));
    done(replica_source());
  });
}

CloneSource GuestEngine::replica_source() const {
  return {.replica = replica_,
          .guest = machine_->guest(),
          .disk_bytes = disks_->sizes(),
          .machine = make_offer(*machine_, Term{}, disks_->sizes())};
}

Result<std::shared_ptr<replication::ReplicaEvents>> GuestEngine::become_standby(
    const replication::Offer& offer) {
  auto made = std::make_shared<std::promise<Result<std::shared_ptr<Replica>>>>();
  auto future = made->get_future();
  post([this, &offer, made] { made->set_value(do_become_standby(offer)); });
  auto replica = future.get();
  if (!replica) return fail(std::move(replica).error());
  return std::shared_ptr<replication::ReplicaEvents>{std::move(*replica)};
}

void GuestEngine::begin_stop() {
  {
    const std::lock_guard lock{mutex_};
    closing_ = true;
  }
  stop(nullptr);
}

// --- output

void GuestEngine::close_output() {
  const auto network = [this] {
    const std::lock_guard lock{mutex_};
    return network_;
  }();
  if (network) network->close();
}

// Under the lock, so that nothing is opened after begin_stop has closed it.
void GuestEngine::open_output() {
  const std::lock_guard lock{mutex_};
  if (!network_ || closing_) return;
  network_->open();
  if (std::exchange(announces_, false)) network_->announce();
}

void GuestEngine::hold_output() {
  const std::lock_guard lock{mutex_};
  if (network_ && !closing_) network_->hold();
}

EngineStatus GuestEngine::status() const {
  EngineStatus status;
  std::shared_ptr<Primary> primary;
  std::shared_ptr<netbuffer::GuestNetwork> network;
  {
    const std::lock_guard lock{mutex_};
    if (disks_) {
      status.disk_complaints = disks_->complaints();
      status.disk_waiting_bytes = disks_->waiting_bytes();
    }
    status.phase = phase_;
    status.accelerator = accelerator_;
    primary = primary_;
    network = network_;
  }
  if (primary) status.primary = primary->status();
  if (network) status.gate = network->status();
  return status;
}

std::optional<ProtectionProgress> GuestEngine::progress() const {
  const auto primary = [this] {
    const std::lock_guard lock{mutex_};
    return primary_;
  }();
  if (!primary) return std::nullopt;
  return primary->progress();
}

std::optional<GuestEngine::Commit> GuestEngine::last_commit() const {
  if (const auto here = progress()) {
    if (here->committed == Epoch{}) return std::nullopt;
    return Commit{here->committed, here->last_commit};
  }
  const auto replica = [this] {
    const std::lock_guard lock{mutex_};
    return replica_;
  }();
  if (!replica) return std::nullopt;
  const auto status = replica->status();
  if (status.committed == Epoch{}) return std::nullopt;
  return Commit{status.committed, status.last_commit};
}

// --- the thread

void GuestEngine::run() {
  prefer_this_thread();
  while (true) {
    wait(std::min(due_, earlier_until_));
    if (now() >= earlier_until_) forget_memory();
    handle_requests();
    {
      const std::lock_guard lock{mutex_};
      if (stopping_) break;
    }
    handle_machine();
    act();
  }
  do_stop();
}

void GuestEngine::wait(TimePoint until) {
  std::array<pollfd, 3> waiting{pollfd{wake_.get(), POLLIN, 0}, pollfd{-1, POLLIN, 0},
                                pollfd{-1, POLLIN, 0}};
  if (machine_) {
    waiting[1].fd = machine_->monitor_fd();
    waiting[2].fd = machine_->exit_fd();
  }
  const auto left =
      std::clamp<Duration>(until - std::min(now(), until), Duration{}, std::chrono::hours{1});
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
  const timespec timeout{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  ::ppoll(waiting.data(), waiting.size(), &timeout, nullptr);
  eventfd_t ignored{};
  ::eventfd_read(wake_.get(), &ignored);
}

void GuestEngine::handle_requests() {
  while (true) {
    Posted request;
    {
      const std::lock_guard lock{mutex_};
      if (requests_.empty()) return;
      request = std::move(requests_.front());
      requests_.pop_front();
    }
    due_ = now();
    request.work();
  }
}

void GuestEngine::handle_machine() {
  if (!machine_) return;
  for (const auto event : machine_->poll()) {
    switch (event) {
      case hypervisor::MachineEvent::reset:
        log::info("guest.reset", {log::kv("guest", name_)});
        break;
      case hypervisor::MachineEvent::powered_off:
        do_stop();
        report_(GuestPoweredOff{});
        return;
      case hypervisor::MachineEvent::panicked:
        return fail_guest({ErrorKind::unavailable, "the guest's kernel panicked"});
      case hypervisor::MachineEvent::disk_failed: retry_at_ = now() + limits::disk_retry; break;
      case hypervisor::MachineEvent::gone: return fail_guest({ErrorKind::closed, "QEMU is gone"});
    }
  }
}

void GuestEngine::act() {
  if (!primary_ || suspended_) return retry_disk();
  const auto next = primary_->act();
  if (next) {
    due_ = *next;
  } else {
    protection_failed(next.error());
  }
}

/// A protected guest needs this not: each epoch resumes it.
void GuestEngine::retry_disk() {
  if (retry_at_ && !suspended_ && now() >= *retry_at_) {
    retry_at_.reset();
    if (const auto resumed = machine_->resume(); !resumed) return fail_guest(resumed.error());
  }
  due_ = retry_at_ && !suspended_ ? *retry_at_ : TimePoint::max();
}

// --- the work

Result<> GuestEngine::pause_machine() {
  const DiskStream::Hurry writes_do_not_wait{*disks_};
  return machine_->pause(hypervisor::PauseFor::suspension);
}

Result<> GuestEngine::open_disks(const config::Guest& guest, DiskMode mode) {
  UNDERSTUDY_TRY(auto opened, GuestDisks::open(guest));
  opened->set_mode(mode);
  if (!opened->empty()) {
    // First: recovery changes the images.
    UNDERSTUDY_CHECK(opened->log_activity(name_, disk_state_.log_path()));
    UNDERSTUDY_CHECK(recover_images(*opened, disk_state_));
  }
  const std::lock_guard lock{mutex_};
  disks_ = std::move(opened);
  return {};
}

Result<> GuestEngine::create(const config::Guest& guest, hypervisor::Start start) {
  UNDERSTUDY_TRY(auto network, wire_guest(guest));
  network.wiring.disks = disks_->take_wiring();
  network.wiring.earlier_memory = std::move(earlier_memory_);
  forget_memory();
  UNDERSTUDY_TRY(machine_, hypervisor::QemuMachine::start(guest, start, std::move(network.wiring)));
  netbuffer::GuestNetworkEvents events;
  const auto primary = [this] {
    const std::lock_guard lock{mutex_};
    return primary_;
  };
  events.on_output = [primary](Epoch sealed) {
    if (const auto protection = primary()) protection->output_waits(sealed, now());
  };
  events.on_pressure = [primary](Epoch sealed) {
    if (const auto protection = primary()) protection->output_presses(sealed);
  };
  events.on_input = [primary](std::span<const netbuffer::GivenFrame> frames) {
    if (const auto protection = primary()) protection->input_given(frames);
  };
  events.on_guest_gone = [this](const Error&) { ::eventfd_write(wake_.get(), 1); };
  const auto hold_bytes = std::size_t{guest.protection().hold_limit_kib()} << 10U;
  UNDERSTUDY_TRY(auto gate, netbuffer::GuestNetwork::start(std::move(network.nics), hold_bytes,
                                                           std::move(events)));
  const std::lock_guard lock{mutex_};
  network_ = std::move(gate);
  detours_ = std::move(network.detours);
  accelerator_ = machine_->fingerprint().accelerator;
  return {};
}

Result<> GuestEngine::do_start(const config::Guest& guest, DiskTrust trust) {
  UNDERSTUDY_CHECK(need_phase({EnginePhase::empty}, "is here already"));
  Result<> done;
  if (trust == DiskTrust::checked && guest.disk_size() > 0) done = disk_state_.may_start();
  if (done) done = open_disks(guest, DiskMode::plain);
  if (done && !disks_->empty()) done = own_disks(trust);
  if (done) done = create(guest, hypervisor::Start::paused);
  if (done) done = machine_->resume();
  if (!done) {
    do_stop();
    return done;
  }
  log::info("guest.started",
            {log::kv("guest", name_), log::kv("qemu", machine_->fingerprint().hypervisor),
             log::kv("accelerator", machine_->fingerprint().accelerator),
             log::kv("pid", machine_->pid())});
  const std::lock_guard lock{mutex_};
  phase_ = EnginePhase::running;
  return {};
}

Result<> GuestEngine::do_import(const config::Guest& guest, const std::string& path,
                                const Tell& tell) {
  UNDERSTUDY_CHECK(need_phase({EnginePhase::empty}, "is here already"));
  const OrdinaryPriority not_before_other_guests;
  if (const auto loaded = load_checkpoint(guest, path, tell); !loaded) {
    do_stop();
    return loaded;
  }
  log::info("guest.imported", {log::kv("guest", name_), log::kv("file", path),
                               log::kv("accelerator", machine_->fingerprint().accelerator),
                               log::kv("pid", machine_->pid())});
  const std::lock_guard lock{mutex_};
  phase_ = EnginePhase::running;
  announces_ = true;
  return {};
}

Result<> GuestEngine::load_checkpoint(const config::Guest& guest, const std::string& path,
                                      const Tell& tell) {
  UNDERSTUDY_CHECK(check_memory(std::uint64_t{guest.memory_mib()} << 20U, "the guest"));
  forget_memory();
  UNDERSTUDY_CHECK(open_disks(guest, DiskMode::standby));
  UNDERSTUDY_CHECK(create(guest, hypervisor::Start::incoming));
  CheckpointProgress progress;
  progress.tell = tell;
  progress.go_on = [this] { return may_go_on(); };
  UNDERSTUDY_TRY(const auto devices,
                 import_checkpoint(path, *machine_, *disks_, disk_state_, progress));
  disks_->set_mode(DiskMode::plain);
  const auto runs = machine_->promote({devices.bytes, devices.used_bytes});
  if (runs || disks_->empty()) return runs;
  return fail(
      runs.error().kind,
      "{}; its disk images here hold that moment, to boot from: understudy start {} --accept-disks",
      runs.error().message, name_);
}

bool GuestEngine::interrupted() const {
  const std::lock_guard lock{mutex_};
  return stopping_ || closing_ ||
         std::any_of(requests_.begin(), requests_.end(),
                     [](const Posted& one) { return one.urgency == Urgency::interrupts; });
}

Result<> GuestEngine::may_go_on() const {
  if (!interrupted()) return {};
  return fail(ErrorKind::closed, "it was ended before it was done");
}

/// The guest's images are this host's from now on; only an operator knows where they come from if
/// it has not written them itself.
Result<> GuestEngine::own_disks(DiskTrust trust) {
  const auto state = disk_state_.load();
  const bool known = trust == DiskTrust::checked && state && *state == ImageState::active;
  if (!known)
    UNDERSTUDY_CHECK(disks_->activity()->forget("the guest was started from other images"));
  return disk_state_.save(ImageState::active);
}

Result<> GuestEngine::do_protect(const replication::SenderParties& parties, Term term) {
  UNDERSTUDY_CHECK(
      need_phase({EnginePhase::running}, "does not run here, or is protected already"));
  UNDERSTUDY_CHECK(
      check_memory(machine_->layout().bytes(), "the shadow copy of the guest's memory"));
  Primary::Events events;
  events.wake = [this] { ::eventfd_write(wake_.get(), 1); };
  events.first_commit = [this](Epoch epoch) { report_(ReplicaReady{epoch}); };
  events.lost = [this](const Error& why) { report_(BackupLost{why}); };
  events.cancelled = [this] { return interrupted(); };

  UNDERSTUDY_TRY(auto opened, Primary::open(*machine_, *network_, machine_->guest().protection(),
                                            {parties, make_offer(*machine_, term, disks_->sizes()),
                                             disks_->empty() ? nullptr : disks_.get()},
                                            std::move(events)));
  {
    const std::lock_guard lock{mutex_};
    primary_ = std::move(opened);
    was_shared_ = true;
    phase_ = EnginePhase::synchronising;
  }
  if (auto done = primary_->synchronise(); !done) {
    static_cast<void>(do_end_protection(done.error().message));
    return done;
  }
  const std::lock_guard lock{mutex_};
  phase_ = EnginePhase::protecting;
  return {};
}

Result<> GuestEngine::do_end_protection(const std::string& reason) {
  const auto primary = [this] {
    const std::lock_guard lock{mutex_};
    return std::exchange(primary_, nullptr);
  }();
  if (!primary) return {};
  auto ended = primary->end(reason);
  if (ended) ended = suspended_ ? pause_machine() : machine_->resume();
  log::info("protection.ended", {log::kv("guest", name_), log::kv("why", reason)});
  const std::lock_guard lock{mutex_};
  phase_ = EnginePhase::running;
  return ended;
}

void GuestEngine::protection_failed(const Error& why) {
  log::error("protection.failed", {log::kv("guest", name_), log::kv("why", why.message)});
  handle_machine();  // it may have failed because the guest is gone, which is another event
  if (!primary_) return;
  if (auto ended = do_end_protection(why.message); !ended) return fail_guest(ended.error());
  report_(BackupLost{why});
}

Result<std::shared_ptr<Replica>> GuestEngine::do_become_standby(const replication::Offer& offer) {
  if (phase_ == EnginePhase::standby && replica_ && replica_->status().over) do_stop();
  UNDERSTUDY_CHECK(need_phase({EnginePhase::empty}, "is here already, as guest or as replica"));
  const auto needed = memory_for(offer);
  UNDERSTUDY_CHECK(check_memory(needed - std::min(needed, allocated_bytes(earlier_memory_.get())),
                                "a replica of the guest"));
  auto replica = make_replica(offer);
  if (!replica) {
    do_stop();
    return replica;
  }
  was_shared_ = true;
  const std::lock_guard lock{mutex_};
  replica_ = *replica;
  phase_ = EnginePhase::standby;
  return replica;
}

Result<std::shared_ptr<Replica>> GuestEngine::make_replica(const replication::Offer& offer) {
  UNDERSTUDY_CHECK(open_disks(offer.guest(), DiskMode::standby));
  UNDERSTUDY_CHECK(check_disks(offer, *disks_));
  UNDERSTUDY_CHECK(create(offer.guest(), hypervisor::Start::incoming));
  UNDERSTUDY_CHECK(check_offer(offer, *machine_));
  auto history = make_history(offer.guest());
  std::unique_ptr<DiskReplica> disks;
  if (!disks_->empty()) {
    UNDERSTUDY_TRY(disks, DiskReplica::create(*disks_, disk_state_, history));
  }
  return Replica::create(
      machine_->layout(), machine_->image(),
      [this](const Error& why) { report_(StandbyLost{why}); },
      [this](Epoch epoch) { report_(StandbyReady{epoch}); }, std::move(disks), std::move(history),
      machine_->earlier());
}

/// A replica without a history is better than none.
std::shared_ptr<History> GuestEngine::make_history(const config::Guest& guest) const {
  if (!guest.has_history()) return nullptr;
  const auto& wanted = guest.history();
  const auto& directory = wanted.directory().empty() ? state_dir_ : wanted.directory();
  auto history = History::create(
      name_, directory, {seconds{wanted.depth_s()}, std::uint64_t{wanted.max_mib()} << 20U});
  if (history) return std::move(*history);
  log::warning("history.none", {log::kv("guest", name_), log::kv("why", history.error().message)});
  return nullptr;
}

Result<TimePoint> GuestEngine::do_hand_over() {
  UNDERSTUDY_CHECK(need_phase({EnginePhase::protecting}, "is not protected from here"));
  if (suspended_) return fail(ErrorKind::conflict, "guest {} is suspended", name_);
  for (const auto& detour : detours()) detour->keep();
  auto paused = primary_->hand_over();
  suspended_ = paused.has_value();
  if (!paused) {
    for (const auto& detour : detours()) detour->give_back();
  }
  return paused;
}

Result<> GuestEngine::check_promotion() const {
  UNDERSTUDY_CHECK(need_phase({EnginePhase::standby}, "has no replica here"));
  if (!replica_->status().over) {
    return fail(ErrorKind::conflict, "guest {}: the replica's session must end first", name_);
  }
  if (replica_->status().committed == Epoch{}) {
    return fail(ErrorKind::conflict, "guest {}: the replica here was never complete", name_);
  }
  return {};
}

GuestEngine::Promotion GuestEngine::do_promote(Output output,
                                               const std::optional<RewindOrder>& order) {
  if (auto possible = check_promotion(); !possible) return {std::move(possible), std::nullopt};
  if (output == Output::open) {
    open_output();
  } else {
    hold_output();
  }
  Promotion promotion;
  if (order) {
    auto [rewound, usable] =
        rewind(replica_source(), *disks_, *order, [this] { return may_go_on(); });
    promotion = {std::move(usable), std::move(rewound)};
  }
  if (promotion.outcome) promotion.outcome = run_replica();
  if (promotion.outcome) return promotion;
  if (promotion.rewound && *promotion.rewound)
    promotion.rewound = undone(**promotion.rewound, promotion.outcome.error());
  do_stop();
  return promotion;
}

Result<> GuestEngine::run_replica() {
  UNDERSTUDY_CHECK(replica_->finish_disks());
  disks_->set_mode(DiskMode::plain);
  UNDERSTUDY_CHECK(machine_->promote(replica_->devices()));
  network_->announce();
  replica_->give_input([this](std::size_t nic, auto frame) { network_->give(nic, frame); });
  const std::lock_guard lock{mutex_};
  phase_ = EnginePhase::running;
  replica_.reset();
  return {};
}

void GuestEngine::do_stop() {
  close_output();
  static_cast<void>(do_end_protection("the guest is stopped"));
  if (machine_) {
    machine_->kill();
    keep_memory();
    if (const auto words = machine_->complaints(); !words.empty()) {
      log::info("qemu.said", {log::kv("guest", name_), log::kv("text", words)});
    }
  }
  std::shared_ptr<netbuffer::GuestNetwork> network;
  std::shared_ptr<Replica> replica;
  std::unique_ptr<GuestDisks> disks;
  {
    const std::lock_guard lock{mutex_};
    phase_ = EnginePhase::empty;
    announces_ = false;
    network = std::exchange(network_, nullptr);
    detours_.clear();
    replica = std::exchange(replica_, nullptr);
  }
  // Its session may live on when the standby machine has died: it must not write where no image is.
  if (replica) replica->abandon();
  if (network) network->stop();
  network.reset();
  machine_.reset();
  {
    const std::lock_guard lock{mutex_};
    std::swap(disks, disks_);
  }
  disks.reset();
  retry_at_.reset();
  suspended_ = false;
}

/// The next replica here may be of the same guest, and most of its memory the same.
void GuestEngine::keep_memory() {
  if (!std::exchange(was_shared_, false)) return;
  // Not at the expense of others.
  if (!check_memory(machine_->layout().bytes(), "what is left when its memory is kept")) return;
  earlier_memory_ = machine_->take_memory();
  earlier_until_ = now() + limits::memory_kept;
}

void GuestEngine::forget_memory() {
  earlier_memory_.reset();
  earlier_until_ = TimePoint::max();
}

void GuestEngine::fail_guest(const Error& why) {
  const auto words = machine_ ? machine_->complaints() : std::string{};
  log::error("guest.failed",
             {log::kv("guest", name_), log::kv("why", why.message), log::kv("qemu", words)});
  do_stop();
  report_(GuestFailed{why});
}

}  // namespace understudy::checkpointer
