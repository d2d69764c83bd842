#include "checkpointer/history.hpp"

#include <algorithm>
#include <utility>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"

namespace understudy::checkpointer {
namespace {

std::uint64_t bytes_of(const std::vector<HistoryStore::PiecePointer>& pieces) {
  std::uint64_t bytes = 0;
  for (const auto& piece : pieces) bytes += piece->bytes();
  return bytes;
}

}  // namespace

std::uint64_t HistoryPath::bytes() const {
  return bytes_of(memory) + bytes_of(disks);
}

std::uint64_t History::Step::bytes() const {
  return bytes_of(memory) + bytes_of(disks);
}

Result<std::shared_ptr<History>> History::create(std::string guest, const std::string& directory,
                                                 HistoryBounds bounds) {
  UNDERSTUDY_TRY(auto store, HistoryStore::create(directory));
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::shared_ptr<History>{new History{std::move(guest), std::move(store), bounds}};
}

History::History(std::string guest, std::shared_ptr<HistoryStore> store, HistoryBounds bounds)
    : guest_{std::move(guest)}, store_{std::move(store)}, bounds_{bounds}, thread_{[this] {
        run();
      }} {}

History::~History() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

// --- the replica's side

void History::changed(HistoryPoint before, HistoryPoint after, UndoRecords memory) {
  const auto bytes = memory.size();
  push(Changed{std::move(before), std::move(after), std::move(memory)}, bytes);
}

void History::disks_changed(Epoch epoch, UndoRecords blocks) {
  const auto bytes = blocks.size();
  if (bytes > 0) push(DisksChanged{epoch, std::move(blocks)}, bytes);
}

void History::push(Item item, std::size_t bytes) {
  const std::lock_guard lock{mutex_};
  queued_bytes_ += bytes;
  ++pushed_;
  queue_.push_back(std::move(item));
  if (queued_bytes_ > limits::history_queue_bytes || queue_.size() > limits::history_points)
    lose_locked("the file of the history was too slow for what the guest writes");
  changed_.notify_all();
}

void History::lose(const std::string& why) {
  const std::lock_guard lock{mutex_};
  lose_locked(why);
}

void History::lose_locked(const std::string& why) {
  if (present_ || !queue_.empty())
    log::warning("history.lost", {log::kv("guest", guest_), log::kv("why", why)});
  ++generation_;
  ++losses_;
  loss_ = why;
  taken_ += queue_.size();
  queue_.clear();
  queued_bytes_ = 0;
  steps_.clear();
  bytes_ = 0;
  present_.reset();
  changed_.notify_all();
}

// --- the thread

void History::run() {
  leave_real_time();  // inherited, and not for this
  std::unique_lock lock{mutex_};
  auto look = now();
  while (!stopping_) {
    changed_.wait_until(lock, look, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const auto generation = generation_;
    Result<> done;
    if (!queue_.empty()) {
      auto item = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      done = std::visit([&](auto& one) { return take(one, generation); }, item);
      lock.lock();
      ++taken_;
      if (generation != generation_) done = {};  // all was lost meanwhile
    } else if (now() >= look) {
      lock.unlock();
      const auto thinned = thin_one();
      lock.lock();
      if (!thinned) done = fail(thinned.error());
      if (!thinned || !*thinned) look = now() + limits::history_tick;
    }
    if (!done) lose_locked(done.error().message);
    drop_oldest(unix_now());
    changed_.notify_all();
  }
}

Result<> History::take(Changed& item, std::uint64_t generation) {
  const std::span<const std::byte> records{item.memory};
  Step step{std::move(item.before), {}, {}};
  if (!records.empty()) {
    UNDERSTUDY_TRY(auto piece, store_->put(merge_undo({&records, 1})));
    step.memory.push_back(std::move(piece));
  }
  const std::lock_guard lock{mutex_};
  if (generation != generation_) return {};
  queued_bytes_ -= item.memory.size();
  bytes_ += step.bytes();
  steps_.push_back(std::move(step));
  present_ = std::move(item.after);
  return {};
}

Result<> History::take(DisksChanged& item, std::uint64_t generation) {
  const std::span<const std::byte> records{item.blocks};
  UNDERSTUDY_TRY(auto piece, store_->put(merge_undo({&records, 1})));
  const std::lock_guard lock{mutex_};
  if (generation != generation_) return {};
  queued_bytes_ -= item.blocks.size();
  // The step that leads back over this epoch; none if that was dropped, or came before all points.
  const auto step = std::find_if(steps_.rbegin(), steps_.rend(),
                                 [&](const Step& one) { return one.before.epoch < item.epoch; });
  if (step == steps_.rend()) return {};
  bytes_ += piece->bytes();
  step->disks.push_back(std::move(piece));
  return {};
}

Result<History::Pieces> History::merged(const Pieces& oldest_first) const {
  if (oldest_first.size() < 2) return oldest_first;
  std::vector<std::vector<std::byte>> contents;
  for (const auto& piece : oldest_first) {
    UNDERSTUDY_TRY(auto read, piece->read());
    contents.push_back(std::move(read));
  }
  const std::vector<std::span<const std::byte>> parts{contents.begin(), contents.end()};
  UNDERSTUDY_TRY(auto piece, store_->put(merge_undo(parts)));
  return Pieces{std::move(piece)};
}

Result<bool> History::thin_one() {
  std::vector<Step> run;
  std::uint64_t generation{};
  {
    const std::lock_guard lock{mutex_};
    std::vector<UnixTime> times;
    for (const auto& step : steps_) times.push_back(step.before.committed_at);
    for (const auto& one : plan_thinning(times, unix_now(), [this](std::size_t i) {
           return pins_.contains(steps_[i].before.epoch);
         })) {
      const auto first = steps_.begin() + static_cast<std::ptrdiff_t>(one.first);
      run.assign(first, first + static_cast<std::ptrdiff_t>(one.count));
      std::uint64_t bytes = 0;
      for (const auto& step : run) bytes += step.bytes();
      if (bytes <= limits::history_merge_bytes) break;
      run.clear();
    }
    generation = generation_;
  }
  if (run.empty()) return false;
  Step all{run.front().before, {}, {}};
  for (const auto& step : run) {
    all.memory.insert(all.memory.end(), step.memory.begin(), step.memory.end());
    all.disks.insert(all.disks.end(), step.disks.begin(), step.disks.end());
  }
  UNDERSTUDY_TRY(all.memory, merged(all.memory));
  UNDERSTUDY_TRY(all.disks, merged(all.disks));
  const std::lock_guard lock{mutex_};
  const auto place = std::ranges::find(steps_, all.before.epoch,
                                       [](const Step& step) { return step.before.epoch; });
  const bool pinned = std::any_of(run.begin() + 1, run.end(), [this](const Step& step) {
    return pins_.contains(step.before.epoch);
  });
  if (generation != generation_ || place == steps_.end() || pinned) return true;
  for (const auto& step : run) bytes_ -= step.bytes();
  bytes_ += all.bytes();
  *place = std::move(all);
  steps_.erase(place + 1, place + static_cast<std::ptrdiff_t>(run.size()));
  return true;
}

/// With mutex_ held.
void History::drop_oldest(UnixTime now) {
  while (!steps_.empty() && (bytes_ > bounds_.bytes || steps_.size() > limits::history_points ||
                             now - steps_.front().before.committed_at > bounds_.depth)) {
    bytes_ -= steps_.front().bytes();
    steps_.pop_front();
  }
}

// --- the readers' side

History::Pin::Pin(std::shared_ptr<History> history, Epoch epoch)
    : history_{std::move(history)}, epoch_{epoch} {
  const std::lock_guard lock{history_->mutex_};
  history_->pins_.insert(epoch_);
}

History::Pin::~Pin() {
  if (!history_) return;
  const std::lock_guard lock{history_->mutex_};
  history_->pins_.erase(history_->pins_.find(epoch_));
}

Result<> History::wait_until_idle(std::unique_lock<std::mutex>& lock) {
  const auto all = pushed_;
  if (changed_.wait_for(lock, limits::history_patience, [&] { return taken_ >= all; })) return {};
  return fail(ErrorKind::timed_out, "the file of guest {}'s history is too slow", guest_);
}

Result<History::Pin> History::find(const HistoryWish& wish) {
  std::unique_lock lock{mutex_};
  UNDERSTUDY_CHECK(wait_until_idle(lock));
  UNDERSTUDY_TRY(const auto epoch, find_locked(wish));
  pins_.insert(epoch);  // held until the pin below has its own
  lock.unlock();
  Pin found{shared_from_this(), epoch};
  lock.lock();
  pins_.erase(pins_.find(epoch));
  return found;
}

Result<Epoch> History::find_locked(const HistoryWish& wish) const {
  if (!present_) {
    return fail(ErrorKind::unavailable, "there is no history of guest {} here{}", guest_,
                loss_.empty() ? "" : ": " + loss_);
  }
  std::vector<const HistoryPoint*> points;
  for (const auto& step : steps_) points.push_back(&step.before);
  points.push_back(&*present_);
  const auto* epoch = std::get_if<Epoch>(&wish);
  const auto after = std::ranges::find_if(points, [&](const HistoryPoint* point) {
    return epoch != nullptr ? point->epoch > *epoch
                            : point->committed_at > std::get<UnixTime>(wish);
  });
  if (after == points.begin()) {
    return fail(ErrorKind::unavailable,
                "the history of guest {} does not go back so far: it begins with epoch {}", guest_,
                points.front()->epoch);
  }
  const auto* found = *std::prev(after);
  if (epoch == nullptr || found->epoch == *epoch) return found->epoch;
  if (after == points.end()) {
    return fail(ErrorKind::unavailable, "epoch {} of guest {} has not come yet: the newest is {}",
                *epoch, guest_, found->epoch);
  }
  return fail(ErrorKind::unavailable,
              "epoch {} of guest {} is not kept any more; the nearest ones are {} and {}", *epoch,
              guest_, found->epoch, (*after)->epoch);
}

Result<HistoryPath> History::path(Epoch from, Epoch to) {
  std::unique_lock lock{mutex_};
  UNDERSTUDY_CHECK(wait_until_idle(lock));
  const auto is = [](Epoch epoch) {
    return [epoch](const Step& step) { return step.before.epoch == epoch; };
  };
  const bool now_there = present_ && present_->epoch == from;
  const auto first = std::ranges::find_if(steps_, is(to));
  const auto end = now_there ? steps_.end() : std::ranges::find_if(steps_, is(from));
  if (now_there && from == to) return HistoryPath{*present_, {}, {}};
  if (first == steps_.end() || (end == steps_.end() && !now_there)) {
    return fail(ErrorKind::unavailable, "epoch {} of guest {} has been dropped meanwhile", to,
                guest_);
  }
  HistoryPath path{first->before, {}, {}};
  for (auto step = end; step != first;) {
    --step;
    path.memory.insert(path.memory.end(), step->memory.begin(), step->memory.end());
    path.disks.insert(path.disks.end(), step->disks.rbegin(), step->disks.rend());
  }
  return path;
}

HistoryReport History::report(UnixTime now) const {
  const std::lock_guard lock{mutex_};
  HistoryReport report{bounds_, std::nullopt, present_, {}, losses_, loss_};
  if (present_) report.oldest = steps_.empty() ? *present_ : steps_.front().before;
  report.bands = {{limits::history_each_epoch, 0, 0},
                  {limits::history_each_second, 0, 0},
                  {Duration::max(), 0, 0}};
  for (const auto& step : steps_) {
    const auto age = now - step.before.committed_at;
    auto& band =
        *std::ranges::find_if(report.bands, [&](const auto& one) { return age <= one.until_age; });
    ++band.points;
    band.bytes += step.bytes();
  }
  if (present_) ++report.bands.front().points;
  return report;
}

}  // namespace understudy::checkpointer
