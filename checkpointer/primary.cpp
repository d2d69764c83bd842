#include "checkpointer/primary.hpp"

#include <algorithm>
#include <utility>

#include "checkpointer/input_codec.hpp"
#include "config/assert.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::uint64_t precopy_pages = limits::precopy_bytes_per_epoch / record_bytes_max;

/// A pass of the full synchronisation that found no more than this is the last: the first epoch's
/// pause takes the rest.
constexpr std::uint64_t little_is_left = 2048;

/// How long a backup may take to start its standby machine and answer.
constexpr auto offer_patience = limits::qemu_start + limits::link_connect;

constexpr auto verify_patience = seconds{60};

/// How often a wait that blocks the guest looks whether it should go on.
constexpr auto wait_step = milliseconds{50};

constexpr auto nothing_due = seconds{1};

/// Requests beside the epochs bear numbers that no epoch has.
constexpr std::uint64_t first_request = std::uint64_t{1} << 63U;
/// Of all questions what is durable: nobody waits for their answers.
constexpr std::uint64_t durable_request = std::uint64_t{1} << 62U;

Error backup_gone() {
  return {ErrorKind::closed, "the backup went away"};
}

}  // namespace

Primary::Primary(hypervisor::ActiveMachine& machine, netbuffer::OutputGate& gate,
                 const config::Protection& settings, Events events)
    : machine_{machine},
      gate_{gate},
      events_{std::move(events)},
      pacer_{{milliseconds{settings.interval_ms()}, milliseconds{settings.min_interval_ms()}}},
      disk_bytes_per_second_{std::uint64_t{settings.sync_rate_mib()} << 20U},
      request_{first_request},
      epochs_{settings.epochs_in_flight()} {}

Primary::~Primary() {
  stop_verifying({ErrorKind::closed, "protection ended"});
  disk_stream_.reset();  // its hints end before what they use
  if (sender_) sender_->stop("protection ended");
}

Result<std::unique_ptr<Primary>> Primary::open(hypervisor::ActiveMachine& machine,
                                               netbuffer::OutputGate& gate,
                                               const config::Protection& settings,
                                               const Target& target, Events events) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<Primary> primary{new Primary{machine, gate, settings, std::move(events)}};
  auto& self = *primary;
  replication::SenderEvents session;
  session.committed = [&self](Epoch epoch) { self.on_committed(epoch); };
  session.replied = [&self](const replication::Reply& reply) {
    if (reply.id() == durable_request) return self.heard_of_disks(reply);
    {
      const std::lock_guard lock{self.mutex_};
      self.reply_ = reply;
      self.changed_.notify_all();
    }
    self.events_.wake();
  };
  session.link = [&self](replication::LinkState state, const std::string& why) {
    log::info("link.changed",
              {log::kv("up", state == replication::LinkState::up), log::kv("why", why)});
    {
      const std::lock_guard lock{self.mutex_};
      self.link_up_ = state == replication::LinkState::up;
      self.changed_.notify_all();
    }
    self.events_.wake();
  };
  session.lost = [&self](const Error& why) {
    {
      const std::lock_guard lock{self.mutex_};
      self.lost_ = true;
      self.changed_.notify_all();
    }
    self.events_.lost(why);
    self.events_.wake();
  };
  UNDERSTUDY_TRY(self.sender_,
                 replication::CheckpointSender::open(target.parties, target.offer, offer_patience,
                                                     std::move(session)));
  UNDERSTUDY_CHECK(machine.track());
  self.writer_.emplace(*self.sender_, self.events_.cancelled);
  UNDERSTUDY_TRY(self.capture_, Capture::create(machine, *self.writer_));
  if (target.disks != nullptr) self.open_disks(*target.disks);
  return primary;
}

void Primary::open_disks(GuestDisks& disks) {
  disks_ = &disks;
  DiskStream::Port port;
  port.ask = [this](replication::Request request) { return ask(std::move(request)); };
  port.cancelled = events_.cancelled;
  // Both are copied at first: each is half of the way.
  port.progress = [this](double fraction) { progressed(fraction / 2); };
  port.hasten = [this] { hasten(); };
  port.bytes_per_second = disk_bytes_per_second_;
  disk_stream_.emplace(disks, *writer_, std::move(port));
}

Result<> Primary::synchronise() {
  UNDERSTUDY_CHECK(copy_everything());
  last_seal_ = now();
  return seal();
}

Result<> Primary::copy_everything() {
  const OrdinaryPriority the_guest_runs;
  writer_->begin(replication::FrameType::sync_disk, Epoch{});
  if (disk_stream_) UNDERSTUDY_CHECK(disk_stream_->synchronise());
  if (disk_stream_) pair_ = disk_stream_->pair();
  UNDERSTUDY_CHECK(copy_memory());
  if (!disk_stream_) return {};
  writer_->begin(replication::FrameType::sync_disk, Epoch{});
  return disk_stream_->begin_epochs();
}

Result<> Primary::copy_memory() {
  UNDERSTUDY_CHECK(find_equal_memory());
  const auto pages = machine_.layout().pages();
  const double before = disk_stream_ ? 0.5 : 0;
  for (std::size_t pass = 1; pass <= limits::sync_passes; ++pass) {
    writer_->begin(replication::FrameType::sync_pages, Epoch{});
    UNDERSTUDY_CHECK(capture_->take(hypervisor::all_pages));
    writer_->flush();
    const auto found = capture_->counts().dirty_pages;
    log::info("sync.pass",
              {log::kv("pass", pass), log::kv("pages", found), log::kv("bytes", writer_->bytes())});
    progressed(before +
               (1 - before) * (1.0 - static_cast<double>(found) / static_cast<double>(pages)));
    if (events_.cancelled()) return fail(ErrorKind::closed, "synchronisation was ended");
    if (found <= little_is_left) break;
  }
  return {};
}

Result<> Primary::find_equal_memory() {
  writer_->begin(replication::FrameType::sync_pages, Epoch{});
  const auto ask_it = [this](replication::Request request) -> Result<replication::Reply> {
    if (!request.has_memory_digest()) return ask(std::move(request));
    UNDERSTUDY_TRY(const auto id, send_request(std::move(request)));
    UNDERSTUDY_TRY(auto reply, await_any_reply(id));
    // One that does not know the question has images that are empty at first.
    return reply.has_failed() ? replication::Reply{} : reply;
  };
  const auto equal = capture_->find_equal(ask_it);
  UNDERSTUDY_CHECK(equal);
  if (equal->compared == 0) return {};
  log::info("memory.compared", {log::kv("pages", equal->compared), log::kv("equal", equal->equal)});
  return {};
}

void Primary::progressed(double fraction) {
  const std::lock_guard lock{mutex_};
  sync_fraction_ = std::max(sync_fraction_, fraction);
}

Result<TimePoint> Primary::act() {
  if (broken_) return fail(*broken_);
  const auto at = now();
  auto moment = pace();
  if (!moment) {
    stop_verifying(backup_gone());
    if (stalled_) UNDERSTUDY_CHECK(end_stall());
    return at + nothing_due;
  }
  if (stalled_ && moment->room) {
    UNDERSTUDY_CHECK(seal_unless_lost());
    UNDERSTUDY_CHECK(go_on_verifying());
    return now();
  }
  if (stalled_ && moment->link_up) return at + nothing_due;
  if (stalled_) {
    // The link was found to be broken after the guest had been stalled for it.
    UNDERSTUDY_CHECK(end_stall());
    return at + nothing_due;
  }
  if (pacer_.idle_matters(*moment)) moment->idle = machine_.idle();
  const auto decision = pacer_.decide(*moment);
  if (decision.act == Pacer::Act::stall) {
    UNDERSTUDY_CHECK(stall());
    return at + nothing_due;
  }
  if (decision.act == Pacer::Act::seal) UNDERSTUDY_CHECK(seal_unless_lost());
  // A backup that has enough to do is not asked for more.
  const bool may_ask = moment->room && moment->link_up;
  if (may_ask) static_cast<void>(ask_what_is_durable());  // or a second later
  UNDERSTUDY_TRY(const auto again, may_ask ? go_on_verifying() : TimePoint::max());
  return decision.act == Pacer::Act::seal ? now() : std::min(decision.until, again);
}

Result<> Primary::seal() {
  UNDERSTUDY_TRY(const auto sealed, seal_paused(hypervisor::Then::run_on));
  account(sealed);
  UNDERSTUDY_CHECK(send_seal(sealed));
  return machine_.expect_checkpoint();
}

Result<> Primary::seal_unless_lost() {
  auto sealed = seal();
  if (sealed) return sealed;
  const auto lost = [this] {
    const std::lock_guard lock{mutex_};
    return lost_;
  }();
  return lost ? end_stall() : sealed;
}

Epoch Primary::running() const {
  const std::lock_guard lock{mutex_};
  return epochs_.running();
}

Epoch Primary::sealed_last() const {
  return Epoch{epochs_.running().value() - 1};
}

Result<Primary::Sealed> Primary::seal_paused(hypervisor::Then then) {
  const auto epoch = running();
  writer_->begin(replication::FrameType::pages, epoch);
  if (!stalled_) UNDERSTUDY_CHECK(capture_->take(precopy_pages));

  const auto paused = stalled_.value_or(now());
  UNDERSTUDY_TRY(const auto devices, pause_and_take(epoch, then));
  UNDERSTUDY_CHECK(capture_->take_devices(devices));
  const std::lock_guard lock{mutex_};
  epochs_.seal(paused);
  return Sealed{epoch, devices, paused, capture_->counts()};
}

Result<hypervisor::DeviceState> Primary::pause_and_take(Epoch epoch, hypervisor::Then then) {
  UNDERSTUDY_CHECK(pause(hypervisor::PauseFor::checkpoint));
  // Not before: a real-time thread wakes where it slept, which is where QEMU now saves its devices.
  const RealTimeSection the_guest_waits;
  // Who may run is decided elsewhere: output that was closed meanwhile is not reopened here.
  if (!std::exchange(holding_, true)) gate_.tighten();
  gate_.seal(epoch);
  if (disk_stream_) UNDERSTUDY_CHECK(disk_stream_->cut(epoch));
  if (verification_) verification_->at_seal();
  UNDERSTUDY_CHECK(capture_->take(hypervisor::all_pages));
  auto devices = machine_.save_devices(then);
  resumed_ = now();
  return devices;
}

/// The guest runs again since resumed_.
void Primary::account(const Sealed& sealed) {
  const auto pause = resumed_ - sealed.paused;
  if (!stalled_) pacer_.paused(pause);
  statistics_.sealed({pause, sealed.paused - std::exchange(last_seal_, sealed.paused),
                      sealed.counts.dirty_pages, writer_->bytes()});
  const std::lock_guard lock{mutex_};
  throttled_ = stalled_.has_value();
  stalled_.reset();
}

Result<> Primary::send_seal(const Sealed& sealed) {
  writer_->flush();
  replication::Seal seal;
  seal.set_frames(writer_->frames());
  if (disk_stream_) {
    UNDERSTUDY_TRY(const auto frames, disk_stream_->send(sealed.epoch));
    seal.set_disk_frames(frames);
  }
  seal.set_pages(sealed.counts.records);
  seal.set_device_bytes(sealed.devices.bytes.size());
  for (const auto used : sealed.devices.used_bytes) seal.add_used_bytes(used);
  return writer_->message(replication::FrameType::seal, sealed.epoch, seal);
}

Result<> Primary::stall() {
  const auto since = now();
  UNDERSTUDY_CHECK(pause(hypervisor::PauseFor::suspension));
  stalled_ = since;
  const std::lock_guard lock{mutex_};
  throttled_ = true;
  return {};
}

Result<> Primary::end_stall() {
  UNDERSTUDY_CHECK(machine_.resume());
  stalled_.reset();
  resumed_ = now();
  const std::lock_guard lock{mutex_};
  throttled_ = false;
  return {};
}

std::optional<Pace> Primary::pace() const {
  const std::lock_guard lock{mutex_};
  if (lost_) return std::nullopt;
  const bool waits = output_epoch_ >= epochs_.running();
  return Pace{now(),
              resumed_,
              waits ? output_waits_ : std::nullopt,
              epochs_.may_seal(),
              link_up_,
              pressed_epoch_ >= epochs_.running()};
}

/// News of an epoch that was sealed meanwhile is none; of one that is far ahead, it is from a
/// protection before this one. The next may be heard of while the running one is being sealed.
bool Primary::is_running(Epoch epoch) const {
  return epoch == epochs_.running() || epoch == epochs_.running().next();
}

void Primary::output_presses(Epoch sealed) {
  {
    const std::lock_guard lock{mutex_};
    if (!is_running(sealed.next())) return;
    pressed_epoch_ = std::max(pressed_epoch_, sealed.next());
  }
  events_.wake();
}

void Primary::input_given(std::span<const netbuffer::GivenFrame> frames) {
  while (!frames.empty()) {
    const auto epoch = frames.front().epoch;
    const auto other = std::ranges::find_if(
        frames, [epoch](const netbuffer::GivenFrame& given) { return given.epoch != epoch; });
    const auto count = static_cast<std::size_t>(other - frames.begin());
    const auto wanted = [&] {
      const std::lock_guard lock{mutex_};
      return epochs_.committed() != Epoch{} && is_running(epoch);
    }();
    for (auto& payload : encode_input(frames.first(wanted ? count : 0)))
      sender_->relay_input(std::move(payload), epoch);
    frames = frames.subspan(count);
  }
}

void Primary::output_waits(Epoch sealed, TimePoint since) {
  {
    const std::lock_guard lock{mutex_};
    const auto epoch = sealed.next();
    if (!is_running(epoch) || epoch <= output_epoch_) return;
    output_epoch_ = epoch;
    output_waits_ = since;
  }
  events_.wake();
}

void Primary::hasten() {
  {
    const std::lock_guard lock{mutex_};
    if (output_epoch_ >= epochs_.running()) return;
    output_epoch_ = epochs_.running();
    output_waits_ = now();
  }
  events_.wake();
}

void Primary::on_committed(Epoch epoch) {
  gate_.release(epoch);  // first of all: the guest's clients wait
  bool first = false;
  bool made_room = false;
  {
    const std::lock_guard lock{mutex_};
    first = epochs_.committed() == Epoch{};
    made_room = !epochs_.may_seal();
    last_commit_ = now();
    const auto took = epochs_.commit(epoch, last_commit_);
    // The session checks what the backup says before it tells us.
    UNDERSTUDY_ASSERT(took.has_value(), "only sealed epochs are committed");
    for (const auto latency : *took) statistics_.committed(latency);
    changed_.notify_all();
  }
  if (first) events_.first_commit(epoch);
  if (made_room) events_.wake();
}

void Primary::verify(VerifyOrder order) {
  if (verification_)
    return order.done(fail(ErrorKind::conflict, "the guest is being compared already"));
  verification_ =
      std::make_unique<Verification>(disks_, std::move(order), disk_bytes_per_second_, now());
}

void Primary::stop_verifying(const Error& why) {
  if (const auto ended = std::move(verification_)) ended->finish(fail(why));
}

Result<TimePoint> Primary::go_on_verifying() {
  if (!verification_) return TimePoint::max();
  using What = Verification::Step::What;
  const auto moment = [this] {
    const std::lock_guard lock{mutex_};
    const bool answered = reply_ && reply_->id() == request_;
    return Verification::Moment{now(), sealed_last(), epochs_.committed(),
                                answered ? std::exchange(reply_, std::nullopt) : std::nullopt};
  }();
  auto step = verification_->step(moment);
  if (step && step->what == What::wait) return step->until;
  if (step && step->what == What::memory) {
    verification_->comparing_memory();
    auto verdict = verify_memory();
    const auto ended = std::move(verification_);
    ended->finish(std::move(verdict));
    if (broken_) return fail(*broken_);
    return now();
  }
  auto sent = step.and_then([this](Verification::Step& ask) {
    replication::Request request;
    *request.mutable_disk_digest() = std::move(ask.question);
    return send_request(std::move(request));
  });
  if (!sent) stop_verifying(pace() ? sent.error() : backup_gone());
  return TimePoint::max();
}

Result<VerifyVerdict> Primary::verify_memory() {
  const auto room = [this] { return epochs_.may_seal() && !lost_; };
  UNDERSTUDY_CHECK(wait_until(room, verify_patience, "the backup does not keep up"));
  const auto sealed = seal_and_ask();
  if (!sealed) return broken(sealed.error());
  const auto here = digest_machine(machine_, sealed->devices);
  const auto reply = await_reply(sealed->epoch.value());
  UNDERSTUDY_CHECK(run_on(*sealed));
  UNDERSTUDY_CHECK(here);
  UNDERSTUDY_CHECK(reply);
  return compare_memory(machine_.layout(), *here, reply->verify());
}

Result<> Primary::pause(hypervisor::PauseFor purpose) {
  if (disks_ == nullptr) return machine_.pause(purpose);
  const DiskStream::Hurry writes_do_not_wait{*disks_};
  return machine_.pause(purpose);
}

Result<std::uint64_t> Primary::send_request(replication::Request request) {
  const auto sealed = [this] {
    const std::lock_guard lock{mutex_};
    reply_.reset();
    return sealed_last();
  }();
  request.set_id(++request_);
  UNDERSTUDY_CHECK(writer_->message(replication::FrameType::request, sealed, request));
  return request_;
}

Result<> Primary::ask_what_is_durable() {
  const auto at = now();
  if (pair_.none() || at < ask_durable_at_) return {};
  ask_durable_at_ = at + limits::activity_poll;
  const auto sealed = [this] {
    const std::lock_guard lock{mutex_};
    return sealed_last();
  }();
  replication::Request request;
  request.set_id(durable_request);
  request.mutable_disk_durable();
  return writer_->message(replication::FrameType::request, sealed, request);
}

void Primary::heard_of_disks(const replication::Reply& reply) {
  if (!reply.has_disk_durable() || !reply.disk_durable().paired()) return;
  disks_->activity()->durable(pair_, Epoch{reply.disk_durable().epoch()});
  disks_->clean_activity();
}

Result<replication::Reply> Primary::ask(replication::Request request) {
  UNDERSTUDY_TRY(const auto id, send_request(std::move(request)));
  return await_reply(id);
}

Result<TimePoint> Primary::hand_over() {
  stop_verifying({ErrorKind::conflict, "the guest is being switched over"});
  const auto room = [this] { return epochs_.may_seal() && !lost_; };
  UNDERSTUDY_CHECK(wait_until(room, limits::switchover_commit, "the backup does not keep up"));
  const auto sealed = seal_paused(hypervisor::Then::stay_paused);
  if (!sealed) return broken(sealed.error());
  if (const auto sent = send_seal(*sealed); !sent) return broken(sent.error());
  const auto held = [&] { return epochs_.committed() >= sealed->epoch; };
  const auto committed =
      wait_until(held, limits::switchover_commit, "the backup did not take the last epoch in time");
  if (committed) {
    account(*sealed);
    return sealed->paused;
  }
  UNDERSTUDY_CHECK(run_on(*sealed));
  return fail(committed.error());
}

/// A guest that was sealed and stayed paused.
Result<> Primary::run_on(const Sealed& sealed) {
  if (const auto resumed = machine_.resume(); !resumed) return broken(resumed.error());
  resumed_ = now();
  account(sealed);
  return {};
}

tl::unexpected<Error> Primary::broken(const Error& why) {
  broken_ = why;
  return fail(why);
}

Result<Primary::Sealed> Primary::seal_and_ask() {
  {
    const std::lock_guard lock{mutex_};
    reply_.reset();
  }
  UNDERSTUDY_TRY(auto sealed, seal_paused(hypervisor::Then::stay_paused));
  UNDERSTUDY_CHECK(send_seal(sealed));
  replication::Request request;
  request.set_id(sealed.epoch.value());
  request.mutable_verify()->set_memory_only(true);
  UNDERSTUDY_CHECK(writer_->message(replication::FrameType::request, sealed.epoch, request));
  return sealed;
}

Result<> Primary::wait_until(const std::function<bool()>& done, Duration patience,
                             std::string_view too_late) {
  const auto deadline = now() + patience;
  std::unique_lock lock{mutex_};
  while (!done()) {
    if (lost_) return fail(backup_gone());
    if (!link_up_) return fail(ErrorKind::unavailable, "the link to the backup is down");
    if (now() >= deadline) return fail(ErrorKind::timed_out, "{}", too_late);
    changed_.wait_for(lock, wait_step);
    lock.unlock();
    if (events_.cancelled()) return fail(ErrorKind::closed, "protection was ended");
    lock.lock();
  }
  return {};
}

Result<replication::Reply> Primary::await_any_reply(std::uint64_t id) {
  const auto answered = [this, id] { return reply_ && reply_->id() == id; };
  UNDERSTUDY_CHECK(wait_until(answered, verify_patience, "the backup did not answer"));
  const std::lock_guard lock{mutex_};
  return *reply_;
}

Result<replication::Reply> Primary::await_reply(std::uint64_t id) {
  UNDERSTUDY_TRY(auto reply, await_any_reply(id));
  if (reply.has_failed())
    return fail(ErrorKind::unavailable, "the backup says: {}", reply.failed());
  return reply;
}

ProtectionProgress Primary::progress() const {
  const std::lock_guard lock{mutex_};
  return {epochs_.committed(), last_commit_, sync_fraction_, throttled_, link_up_};
}

PrimaryStatus Primary::status() const {
  return {progress(), statistics_.summary(), statistics_.totals(), sender_->status()};
}

Result<> Primary::end(const std::string& reason) {
  stop_verifying({ErrorKind::closed, "protection was ended: " + reason});
  disk_stream_.reset();
  sender_->stop(reason);
  return stalled_ ? end_stall() : Result<>{};
}

}  // namespace understudy::checkpointer
