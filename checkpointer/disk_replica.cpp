#include "checkpointer/disk_replica.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "checkpointer/activity_map.hpp"
#include "checkpointer/disk_chunks.hpp"
#include "checkpointer/disk_digest.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::checkpointer {
namespace {

/// How often a wait asks whether it should go on.
constexpr auto wait_step = milliseconds{50};

/// How long an epoch waits for others that are applied with it, unless they have so much.
constexpr auto gather = milliseconds{100};
constexpr std::size_t gather_bytes = 8U << 20U;
static_assert(gather_bytes < limits::disk_queue_bytes, "what gathers leaves room");

Result<> write_records(GuestDisks& disks, std::span<const std::byte> records,
                       const std::function<void(const DiskRecord&)>& before = nullptr) {
  return for_each_disk_record(records, [&](const DiskRecord& record) -> Result<> {
    if (before) before(record);
    auto& image = disks.disk(record.disk).image();
    const auto error = record.what == DiskContents::zeros
                           ? image.zero(record.offset, record.bytes, Hole::allowed)
                           : image.write(record.offset, record.data);
    if (error) return fail_errno(fmt::format("disk image {}", image.path()), error.value());
    return {};
  });
}

/// Of a record, what lies in a part of its disk.
void put_record(const DiskRecord& record, std::uint64_t start, std::span<std::byte> contents) {
  const auto from = std::max(record.offset, start);
  const auto to = std::min(record.offset + record.bytes, start + contents.size());
  const auto place = contents.subspan(from - start, to - from);
  if (record.what == DiskContents::zeros) {
    std::ranges::fill(place, std::byte{});
  } else {
    std::ranges::copy(record.data.subspan(from - record.offset, place.size()), place.begin());
  }
}

Result<> flush_images(GuestDisks& disks) {
  for (std::size_t i = 0; i < disks.size(); ++i) {
    auto& image = disks.disk(i).image();
    if (const auto error = image.flush())
      return fail_errno(fmt::format("disk image {}", image.path()), error.value());
  }
  return {};
}

}  // namespace

Result<> recover_images(GuestDisks& disks, const DiskState& state) {
  UNDERSTUDY_TRY(auto journal, DiskJournal::open(state.journal_path()));
  UNDERSTUDY_TRY(const auto batch, journal.load());
  if (batch) {
    UNDERSTUDY_CHECK(check_disk_records(*batch, disks.sizes()));
    UNDERSTUDY_CHECK(write_records(disks, *batch));
    UNDERSTUDY_CHECK(flush_images(disks));
    log::info("disk.recovered",
              {log::kv("journal", state.journal_path()), log::kv("bytes", batch->size())});
  }
  return journal.clear();
}

Result<std::unique_ptr<DiskReplica>> DiskReplica::create(GuestDisks& disks, const DiskState& state,
                                                         std::shared_ptr<History> history) {
  UNDERSTUDY_TRY(auto journal, DiskJournal::open(state.journal_path()));
  UNDERSTUDY_CHECK(state.save(ImageState::incomplete));
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::unique_ptr<DiskReplica>{
      new DiskReplica{disks, state, std::move(journal), std::move(history)}};
}

DiskReplica::DiskReplica(GuestDisks& disks, DiskState state, DiskJournal journal,
                         std::shared_ptr<History> history)
    : disks_{disks},
      sizes_{disks.sizes()},
      state_{std::move(state)},
      journal_{std::move(journal)},
      history_{std::move(history)},
      undo_{sizes_},
      thread_{[this] { run(); }} {}

DiskReplica::~DiskReplica() {
  {
    const std::lock_guard lock{mutex_};
    stop_by_ = now() + limits::disk_drain;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  thaw_all();
}

Result<> DiskReplica::check(std::span<const std::byte> payload) const {
  return check_disk_records(payload, sizes_);
}

Result<> DiskReplica::synchronise(std::span<const std::byte> payload) {
  UNDERSTUDY_CHECK(check(payload));
  UNDERSTUDY_CHECK(wait_for_room());
  push({.epoch = false, .records = {payload.begin(), payload.end()}});
  return {};
}

Result<> DiskReplica::wait_for_room() {
  std::unique_lock lock{mutex_};
  const bool room = changed_.wait_for(lock, limits::disk_queue_wait, [this] {
    return broken_ || queued_bytes_ < limits::disk_queue_bytes;
  });
  if (broken_) return fail(*broken_);
  if (!room) {
    return fail(ErrorKind::timed_out,
                "the backup's disk is too slow: {} MiB of disk writes wait there",
                queued_bytes_ >> 20U);
  }
  return {};
}

void DiskReplica::commit(const std::vector<std::span<const std::byte>>& payloads, Epoch epoch) {
  Item item{.epoch = true, .records = {}, .number = epoch};
  std::size_t bytes = 0;
  for (const auto& payload : payloads) bytes += payload.size();
  item.records.reserve(bytes);
  for (const auto& payload : payloads)
    item.records.insert(item.records.end(), payload.begin(), payload.end());
  push(std::move(item));
}

void DiskReplica::push(Item item) {
  const std::lock_guard lock{mutex_};
  // Most epochs write nothing; the first tells that the images are whole.
  if (item.records.empty() && !item.settles && !queue_.empty() && queue_.back().epoch) return;
  item.after = snapshots_;
  set_queued(queued_bytes_ + item.records.size());
  queue_.push_back(std::move(item));
  changed_.notify_all();
}

void DiskReplica::freeze(std::shared_ptr<DiskSnapshot> snapshot) {
  snapshot->attach(disks_);
  push({.epoch = true, .records = {}, .settles = snapshot});
  const std::lock_guard lock{mutex_};
  snapshots_.push_back(std::move(snapshot));
}

void DiskReplica::thaw(const std::shared_ptr<DiskSnapshot>& snapshot) {
  const std::lock_guard lock{mutex_};
  if (std::erase(snapshots_, snapshot) > 0) snapshot->detach();
}

void DiskReplica::thaw_all() {
  const std::lock_guard lock{mutex_};
  for (const auto& snapshot : std::exchange(snapshots_, {})) snapshot->detach();
}

void DiskReplica::run() {
  std::unique_lock lock{mutex_};
  while (true) {
    applying_.clear();
    changed_.notify_all();
    changed_.wait(lock, [this] { return stop_by_ || (!queue_.empty() && !broken_); });
    changed_.wait_for(lock, gather, [this] { return is_due(); });
    applying_ = next();
    if (applying_.empty()) return drop_rest();
    lock.unlock();
    auto done = apply(applying_);
    std::size_t bytes = 0;
    for (const auto& item : applying_) bytes += item.records.size();
    lock.lock();
    set_queued(queued_bytes_ - bytes);
    if (done) {
      applied(applying_);
    } else {
      log::error("disk.replica_failed", {log::kv("why", done.error().message)});
      broken_ = done.error();
    }
  }
}

bool DiskReplica::is_due() const {
  const auto is_more_than_an_epoch = [](const Item& item) { return !item.epoch || item.settles; };
  return stop_by_ || hurry_ > 0 || !whole_ || queued_bytes_ >= gather_bytes ||
         std::ranges::any_of(queue_, is_more_than_an_epoch);
}

DiskReplica::Items DiskReplica::next() {
  if (!stop_by_) return std::exchange(queue_, {});
  // Without an epoch the images are not whole, and more contents would not make them so.
  if (broken_ || now() >= *stop_by_ || std::ranges::none_of(queue_, &Item::epoch)) return {};
  // Not all at once: the time is looked at in between. Up to the first epoch in any case.
  auto end = std::next(std::ranges::find_if(queue_, &Item::epoch));
  for (std::size_t bytes = 0; end != queue_.end() && bytes < limits::disk_drain_bytes; ++end)
    bytes += end->records.size();
  Items items{std::move_iterator{queue_.begin()}, std::move_iterator{end}};
  queue_.erase(queue_.begin(), end);
  return items;
}

void DiskReplica::drop_rest() {
  const auto epochs = std::ranges::count_if(queue_, &Item::epoch);
  if (epochs > 0)
    log::warning("disk.dropped", {log::kv("epochs", epochs), log::kv("bytes", queued_bytes_)});
}

void DiskReplica::applied(const Items& items) {
  for (const auto& item : items) {
    if (item.epoch) durable_ = std::max(durable_, item.number);
  }
}

Result<> DiskReplica::forget_others() {
  if (std::exchange(overwriting_, true) || disks_.activity() == nullptr) return {};
  const bool joined = [this] {
    const std::lock_guard lock{mutex_};
    return joined_;
  }();
  if (joined) return {};
  return disks_.activity()->forget("another synchronisation has begun to write over the images");
}

Result<> DiskReplica::become_whole() {
  whole_ = true;
  const auto next = [this] {
    const std::lock_guard lock{mutex_};
    return next_;
  }();
  if (disks_.activity() != nullptr && !next.none()) {
    const bool paired = disks_.activity()->adopt(next);
    const std::lock_guard lock{mutex_};
    paired_ = paired;
  }
  return state_.save(ImageState::replica);
}

Result<> DiskReplica::apply(const Items& items) {
  UNDERSTUDY_CHECK(forget_others());
  const auto first = std::ranges::find_if(items, &Item::epoch);
  for (const auto& item : std::span{items.begin(), first})
    UNDERSTUDY_CHECK(write_records(disks_, item.records));
  if (first == items.end()) return {};
  return apply_epochs({first, items.end()});
}

Result<> DiskReplica::apply_epochs(std::span<const Item> items) {
  std::vector<std::span<const std::byte>> parts;
  for (const auto& item : items) {
    if (!item.records.empty()) parts.emplace_back(item.records);
  }
  if (whole_ && parts.empty()) {
    settle(items);
    return {};
  }
  // Before they are whole there is no boundary that a journal could keep.
  if (whole_) UNDERSTUDY_CHECK(journal_.write(parts));
  for (const auto& item : items) UNDERSTUDY_CHECK(write(item));
  settle(items);
  UNDERSTUDY_CHECK(flush_images(disks_));
  return whole_ ? journal_.forget() : become_whole();
}

Result<> DiskReplica::write(const Item& item) {
  UndoRecords undo;
  UNDERSTUDY_CHECK(write_records(disks_, item.records, [&](const DiskRecord& record) {
    for (const auto& snapshot : item.after)
      snapshot->preserve(record.disk, record.offset, record.bytes);
    if (history_ && at_boundary_) keep_history(item, record, undo);
  }));
  if (history_) history_->disks_changed(item.number, std::move(undo));
  at_boundary_ = true;  // also within the first batch, which makes the images whole
  return {};
}

/// What cannot be kept is the history's loss, never the replica's.
void DiskReplica::keep_history(const Item& item, const DiskRecord& record, UndoRecords& undo) {
  auto& image = disks_.disk(record.disk).image();
  const auto error = undo_.append(
      record,
      [&](std::uint64_t offset, std::span<std::byte> out) { return image.read(offset, out); },
      undo);
  if (error) {
    history_->lose(fmt::format("epoch {}: old contents of {} could not be read: {}", item.number,
                               image.path(), error.message()));
  }
  if (undo.size() > limits::history_queue_bytes) {
    history_->lose(fmt::format("epoch {} writes too much to the disks at once", item.number));
    undo.clear();
  }
}

void DiskReplica::settle(std::span<const Item> items) {
  for (const auto& item : items) {
    if (item.settles) item.settles->settled();
  }
}

Result<> DiskReplica::wait_until_applied(const replication::KeepGoing& keep_going) {
  std::unique_lock lock{mutex_};
  ++hurry_;
  changed_.notify_all();
  bool goes_on = true;
  while (goes_on && !broken_ && (!queue_.empty() || !applying_.empty())) {
    changed_.wait_for(lock, wait_step);
    lock.unlock();
    goes_on = keep_going();
    lock.lock();
  }
  --hurry_;
  if (!goes_on) return fail(ErrorKind::closed, "the session is ending");
  if (broken_) return fail(*broken_);
  return {};
}

Result<replication::DiskMapReply> DiskReplica::map(const replication::DiskMapRequest& request) {
  replication::DiskMapReply reply;
  auto* activity = disks_.activity();
  if (activity == nullptr) return fail(ErrorKind::unavailable, "this backup keeps no log");
  if (request.disk() >= disks_.size())
    return fail(ErrorKind::protocol, "a map of disk {}", request.disk());
  const auto known = activity->known();
  const std::lock_guard lock{mutex_};
  if (!queue_.empty() || !applying_.empty() || durable_ != Epoch{})
    return fail(ErrorKind::protocol, "a map of disks that are being written to");
  next_ = {request.next().high(), request.next().low()};
  joined_ = !next_.none() && !known.pair.none() &&
            known.pair == PairId{request.pair().high(), request.pair().low()};
  if (known.pair.none()) {
    reply.set_unknown(known.why_none);
  } else if (!joined_) {
    reply.set_unknown("it was synchronised with another state of the guest");
  } else {
    reply.set_extents(bitmap_of(known.marked, static_cast<std::uint16_t>(request.disk()),
                                request.first_extent(), limits::activity_map_bytes));
  }
  return reply;
}

replication::DiskDurableReply DiskReplica::durable() const {
  replication::DiskDurableReply reply;
  const std::lock_guard lock{mutex_};
  reply.set_epoch(durable_.value());
  reply.set_paired(paired_);
  return reply;
}

Result<std::vector<std::uint64_t>> DiskReplica::chunks_of(
    const replication::DiskDigestRequest& request) {
  if (request.disk() >= disks_.size() || request.chunks() > limits::disk_digests)
    return fail(ErrorKind::protocol, "digests of disk {}, {} chunks", request.disk(),
                request.chunks());
  auto& disk = disks_.disk(request.disk());
  if (request.first_chunk() > disk.chunks() ||
      request.chunks() > disk.chunks() - request.first_chunk()) {
    return fail(ErrorKind::protocol, "digests beyond the end of disk {}", request.disk());
  }
  if (request.chunk_size() == 0) return chunk_range(request.first_chunk(), request.chunks());
  std::vector<std::uint64_t> chunks{request.chunk().begin(), request.chunk().end()};
  const bool ascend = std::ranges::adjacent_find(chunks, std::greater_equal{}) == chunks.end();
  if (chunks.size() > limits::disk_digests || !ascend || chunks.back() >= disk.chunks())
    return fail(ErrorKind::protocol, "digests of {} odd chunks of disk {}", chunks.size(),
                request.disk());
  return chunks;
}

Result<std::vector<std::string>> DiskReplica::digest_chunks(
    const replication::DiskDigestRequest& request) {
  UNDERSTUDY_TRY(const auto chunks, chunks_of(request));
  auto& disk = disks_.disk(request.disk());
  // What waits, or is just being written, goes on top of what the image has by now: every byte of
  // it ends as the last write left it. Nothing is taken away from there while the lock is held.
  const std::lock_guard lock{mutex_};
  if (broken_) return fail(*broken_);
  std::vector<std::vector<DiskRecord>> pending(chunks.size());
  for (const auto* items : {&applying_, &queue_}) {
    for (const auto& item : *items) {
      UNDERSTUDY_CHECK(for_each_disk_record(item.records, [&](const DiskRecord& record) {
        if (record.disk != request.disk()) return Result<>{};
        for_each_shared(chunks, record.offset, record.bytes,
                        [&](std::size_t which) { pending[which].push_back(record); });
        return Result<>{};
      }));
    }
  }
  return checkpointer::digest_chunks(disk, chunks, [&](auto which, auto contents) {
    const auto start = disk.chunk(chunks[which]).first;
    for (const auto& record : pending[which]) put_record(record, start, contents);
  });
}

void DiskReplica::set_queued(std::size_t bytes) {
  queued_bytes_ = bytes;
  disks_.set_waiting_bytes(bytes);
}

Result<> DiskReplica::log_back(std::span<const std::byte> undo) {
  UNDERSTUDY_CHECK(wait_until_applied([] { return true; }));
  UNDERSTUDY_TRY(const auto blocks, check_records(undo, undo_.blocks()));
  UNDERSTUDY_CHECK(check_blocks_back(blocks));
  std::vector<std::byte> writes;
  const auto unread = undo_.to_disk_records(
      undo,
      [this](std::size_t disk, std::uint64_t offset, std::span<std::byte> out) {
        return disks_.disk(disk).image().read(offset, out);
      },
      writes);
  if (unread) return fail_errno("the disk images", unread.value());
  // Before anything can reach the images: the other host's stay as they are now.
  std::set<Extent> extents;
  UNDERSTUDY_CHECK(for_each_disk_record(writes, [&](const DiskRecord& record) -> Result<> {
    const auto some = extents_of(record.disk, record.offset, record.bytes);
    extents.insert(some.begin(), some.end());
    return {};
  }));
  const ActivityLog::Write differs{disks_.activity(), {extents.begin(), extents.end()}};
  if (differs.error())
    return fail_errno("the log of what is written to the disks", differs.error().value());
  const std::span<const std::byte> all{writes};
  UNDERSTUDY_CHECK(journal_.write({&all, 1}));
  back_ = std::move(writes);
  return {};
}

Result<> DiskReplica::go_back() {
  UNDERSTUDY_CHECK(write_records(disks_, back_));
  UNDERSTUDY_CHECK(flush_images(disks_));
  back_.clear();
  return journal_.forget();
}

Result<> DiskReplica::finish() {
  thaw_all();  // the guest is about to write to the images itself
  UNDERSTUDY_CHECK(wait_until_applied([] { return true; }));
  UNDERSTUDY_CHECK(journal_.clear());
  return state_.save(ImageState::active);
}

}  // namespace understudy::checkpointer
