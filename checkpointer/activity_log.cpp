#include "checkpointer/activity_log.hpp"

#include <utility>

#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::checkpointer {
namespace {

/// Why the images that are here are not those that the log speaks of; empty: they are.
std::string other_images(const ActivityRecord& record, const std::vector<ImageIdentity>& here) {
  if (record.images.size() != here.size()) return "the guest had another number of disks";
  for (std::size_t i = 0; i < here.size(); ++i) {
    if (!record.images[i].same_image(here[i]))
      return fmt::format("the image of disk {} is another one than before", i);
    if (record.clean && record.images[i].modified_ns != here[i].modified_ns)
      return fmt::format("the image of disk {} was changed while the guest was not here", i);
  }
  return {};
}

}  // namespace

ActivityLog::ActivityLog(std::string guest, std::unique_ptr<ActivityStore> store, Images images)
    : guest_{std::move(guest)},
      store_{std::move(store)},
      images_{std::move(images)},
      why_none_{"there was no synchronisation"} {}

ActivityLog::~ActivityLog() = default;

Result<> ActivityLog::open() {
  const std::lock_guard io{io_};
  UNDERSTUDY_TRY(identities_, images_.identities());
  const auto file = store_->load();
  if (!file) return lose(file.error().message);
  if (!*file) return {};
  const auto record = decode_activity(**file);
  if (!record) return lose(record.error().message);
  if (auto why = other_images(*record, identities_); !why.empty()) return lose(std::move(why));
  if (record->marked.size() > limits::activity_extents) return lose("too much was written");
  // From now on the images change: it must not look like a clean end any more.
  if (const auto written = replace(record->pair, record->marked); !written)
    return lose(written.error().message);
  const std::lock_guard lock{state_};
  machine_.restore(record->marked);
  return {};
}

Result<> ActivityLog::forget(std::string why) {
  const std::lock_guard io{io_};
  {
    const std::lock_guard lock{state_};
    if (pair_.none() && !stuck_) return {};
  }
  return lose(std::move(why));
}

void ActivityLog::close() {
  const std::lock_guard io{io_};
  const bool paired = [this] {
    const std::lock_guard lock{state_};
    return !pair_.none();
  }();
  if (!paired) return;
  const auto last = images_.identities();
  // Not written: it was no clean end.
  if (last) static_cast<void>(store_->append(tail_.clean_end(*last)));
}

Result<> ActivityLog::replace(PairId pair, const std::vector<Extent>& marked) {
  const ActivityImage image{{pair, identities_, marked, false}};
  UNDERSTUDY_CHECK(store_->replace(image.bytes));
  tail_ = image.tail;
  const std::lock_guard lock{state_};
  pair_ = pair;
  return {};
}

Result<> ActivityLog::lose(std::string why) {
  const auto removed = store_->remove();
  log::info("disk.log_dropped", {log::kv("guest", guest_), log::kv("why", why)});
  const std::lock_guard lock{state_};
  stuck_ = !removed;
  pair_ = {};
  next_ = {};  // what was written in this session is forgotten with it
  why_none_ = std::move(why);
  machine_.clear();
  if (removed) return {};
  return fail(removed.error().within("the log of what was written to the disks cannot be removed"));
}

// --- a guest that runs here

ActivityLog::Write::Write(ActivityLog* log, std::uint16_t disk, std::uint64_t offset,
                          std::uint64_t bytes)
    : Write{log, log == nullptr ? std::vector<Extent>{} : extents_of(disk, offset, bytes)} {}

ActivityLog::Write::Write(ActivityLog* log, std::vector<Extent> extents)
    : log_{log}, extents_{std::move(extents)} {
  if (log_ != nullptr) error_ = log_->begin(extents_);
}

ActivityLog::Write::~Write() {
  if (log_ != nullptr) log_->end(extents_, how_);
}

std::error_code ActivityLog::begin(std::span<const Extent> extents) {
  {
    const std::lock_guard lock{state_};
    machine_.begin(extents);
    const bool has_file = !pair_.none() || becoming_ || stuck_;
    if (!has_file) limit_memory();
    if (!has_file || machine_.logged(extents)) return {};
  }
  const std::lock_guard io{io_};
  const auto written = log(extents);
  return written ? std::error_code{} : std::make_error_code(std::errc::io_error);
}

/// Where no file limits it: what is not known is compared.
void ActivityLog::limit_memory() {
  if (machine_.size() <= limits::activity_extents) return;
  machine_.clear();
  next_ = {};
}

void ActivityLog::end(std::span<const Extent> extents, WriteEnd how) {
  const std::lock_guard lock{state_};
  machine_.end(extents, how, now());
}

Result<> ActivityLog::log(std::span<const Extent> extents) {
  std::vector<Extent> all;
  {
    const std::lock_guard lock{state_};
    if (pair_.none()) {
      if (!stuck_) return {};
    } else if (machine_.logged(extents)) {
      return {};
    }
    all = machine_.unlogged();
  }
  if (stuck_) return lose("it could not be removed before");
  Result<> written;
  if (all.size() <= tail_.room()) {
    written = store_->append(tail_.marks(all));
  } else {
    const auto [marked, pair] = [this] {
      const std::lock_guard lock{state_};
      return std::pair{machine_.marked(), pair_};
    }();
    all = marked;
    written = marked.size() <= limits::activity_extents
                  ? replace(pair, marked)
                  : fail(ErrorKind::limit, "more than {} GiB were written",
                         (limits::activity_extents * limits::activity_extent_bytes) >> 30U);
  }
  if (!written) return lose(written.error().message);
  const std::lock_guard lock{state_};
  machine_.now_logged(all);
  return {};
}

ActivityLog::Known ActivityLog::begin_session(PairId next) {
  const std::scoped_lock both{io_, state_};
  machine_.begin_session();
  if (pair_.none()) machine_.clear();
  next_ = next;
  durable_ = Epoch{};
  return {pair_, why_none_, machine_.marked()};
}

void ActivityLog::seal(Epoch epoch) {
  const std::lock_guard lock{state_};
  machine_.run(epoch.next());
}

void ActivityLog::durable(PairId next, Epoch epoch) {
  const std::lock_guard lock{state_};
  if (next == next_) durable_ = std::max(durable_, epoch);
}

void ActivityLog::clean(TimePoint now) {
  const std::lock_guard cleaning{cleaning_};
  ActivityMachine::Safe safe;
  PairId next;
  {
    const std::lock_guard lock{state_};
    if (next_.none() || durable_ == Epoch{} || stuck_) return;
    next = next_;
    const bool adopts = pair_ != next;
    safe = {durable_, machine_.moment(), adopts ? TimePoint::max() : now - limits::activity_cold};
    if (!adopts && now < cleaned_ + limits::activity_cold) return;
    cleaned_ = now;
    if (!adopts && machine_.removable(safe).empty()) return;
  }
  if (images_.flush()) return;  // never durable here
  const std::lock_guard io{io_};
  std::vector<Extent> left;
  {
    const std::lock_guard lock{state_};
    if (next_ != next) return;  // another session has begun
    machine_.remove(machine_.removable(safe));
    left = machine_.marked();
    becoming_ = true;
  }
  auto written = replace(next, left);
  if (!written) written = lose(written.error().message);
  const std::lock_guard lock{state_};
  becoming_ = false;
  if (pair_ == next) machine_.now_logged(left);
}

// --- a backup

ActivityLog::Known ActivityLog::known() const {
  const std::lock_guard lock{state_};
  return {pair_, why_none_, machine_.marked()};
}

bool ActivityLog::adopt(PairId next) {
  const std::lock_guard io{io_};
  {
    const std::lock_guard lock{state_};
    machine_.clear();
  }
  const auto written = replace(next, {});
  // The primary does not take over what is not here, so whatever stays here is never equal to its.
  if (!written) static_cast<void>(lose(written.error().message));
  return written.has_value();
}

}  // namespace understudy::checkpointer
