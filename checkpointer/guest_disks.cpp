#include "checkpointer/guest_disks.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "checkpointer/activity_file.hpp"
#include "checkpointer/disk_chunks.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::checkpointer {

void GuestDisk::set_mode(DiskMode mode) {
  const std::lock_guard lock{mutex_};
  mode_ = mode;
  marked_.assign(mode == DiskMode::tracking ? chunks() : marked_.size(), false);
}

std::uint64_t GuestDisk::chunks() const {
  return (image_->bytes() + limits::disk_chunk_bytes - 1) / limits::disk_chunk_bytes;
}

std::pair<std::uint64_t, std::uint32_t> GuestDisk::chunk(std::uint64_t index) const {
  const auto offset = index * limits::disk_chunk_bytes;
  const auto size = std::min<std::uint64_t>(limits::disk_chunk_bytes, image_->bytes() - offset);
  return {offset, static_cast<std::uint32_t>(size)};
}

std::vector<std::uint64_t> GuestDisk::take_marked() {
  const std::lock_guard lock{mutex_};
  return take_marked_locked();
}

std::vector<std::uint64_t> GuestDisk::begin_logging() {
  const std::lock_guard lock{mutex_};
  mode_ = DiskMode::logging;
  return take_marked_locked();
}

std::vector<std::uint64_t> GuestDisk::take_marked_locked() {
  std::vector<std::uint64_t> result;
  for (std::uint64_t i = 0; i < marked_.size(); ++i) {
    if (marked_[i]) result.push_back(i);
    marked_[i] = false;
  }
  return result;
}

std::vector<bool> GuestDisk::written(std::span<const std::uint64_t> chunks) {
  std::vector<bool> result(chunks.size());
  const std::lock_guard lock{mutex_};  // what is in the image is in the log
  log_.visit([&](const DiskWrite& write) {
    if (write.disk != number_) return;
    for_each_shared(chunks, write.offset, write.bytes,
                    [&](std::size_t which) { result[which] = true; });
  });
  return result;
}

std::error_code GuestDisk::send_again(std::uint64_t index) {
  const auto [offset, bytes] = chunk(index);
  std::vector<std::byte> data(bytes);
  const ActivityLog::Write activity{activity_, number_, offset, bytes};  // the backup's changes
  if (activity.error()) return activity.error();
  const std::lock_guard lock{mutex_};  // no write comes between reading and logging
  if (const auto error = image_->read(offset, data)) return error;
  const auto what = contents_of(data);
  if (what == DiskContents::zeros) data.clear();
  note({number_, what, offset, bytes, std::move(data)});
  return {};
}

void GuestDisk::doubt(std::uint64_t index) {
  const auto [offset, bytes] = chunk(index);
  ActivityLog::Write activity{activity_, number_, offset, bytes};
  activity.failed();
}

std::string GuestDisk::complaint() const {
  const std::lock_guard lock{complaint_mutex_};
  return complaint_;
}

std::error_code GuestDisk::read(std::uint64_t offset, std::span<std::byte> out) {
  return told(image_->read(offset, out), "read");
}

std::error_code GuestDisk::write(std::uint64_t offset, std::vector<std::byte> data) {
  log_.wait_for_room();
  ActivityLog::Write activity{activity_, number_, offset, data.size()};
  if (activity.error()) return told(activity.error(), "write");
  const std::lock_guard lock{mutex_};
  if (mode_ == DiskMode::standby) return std::make_error_code(std::errc::operation_not_permitted);
  const auto bytes = static_cast<std::uint32_t>(data.size());
  if (const auto error = image_->write(offset, data)) {
    // Some of it may be there: the backup shall have the same.
    if (!image_->read(offset, data)) {
      note({number_, DiskContents::data, offset, bytes, std::move(data)});
    } else {
      activity.failed();
    }
    return told(error, "write");
  }
  note({number_, DiskContents::data, offset, bytes, std::move(data)});
  return told({}, "write");
}

std::error_code GuestDisk::zero(std::uint64_t offset, std::uint32_t bytes, Hole hole) {
  ActivityLog::Write activity{activity_, number_, offset, bytes};
  if (activity.error()) return told(activity.error(), "write");
  const std::lock_guard lock{mutex_};
  if (mode_ == DiskMode::standby) return std::make_error_code(std::errc::operation_not_permitted);
  if (const auto error = image_->zero(offset, bytes, hole)) {
    activity.failed();  // some of it may be there
    return told(error, "write");
  }
  note({number_, DiskContents::zeros, offset, bytes, {}});
  return told({}, "write");
}

std::error_code GuestDisk::flush() {
  return told(image_->flush(), "flush");
}

void GuestDisk::note(DiskWrite write) {
  if (mode_ == DiskMode::logging) log_.append(std::move(write));
  if (mode_ != DiskMode::tracking || write.bytes == 0) return;
  const auto last = (write.offset + write.bytes - 1) / limits::disk_chunk_bytes;
  for (auto i = write.offset / limits::disk_chunk_bytes; i <= last; ++i) marked_[i] = true;
}

bool GuestDisk::stops_for(std::error_code error) const {
  return policy_ == config::STOP ||
         (policy_ == config::ENOSPACE && error == std::errc::no_space_on_device);
}

std::error_code GuestDisk::told(std::error_code error, std::string_view what) {
  if (!error && !stands_still_) return error;
  const std::lock_guard lock{complaint_mutex_};
  if (!error) {
    if (what != stopped_for_) return error;
    stopped_for_ = {};
    stands_still_ = false;
    log::info("disk.works_again", {log::kv("disk", number_), log::kv("path", image_->path())});
    complaint_.clear();
    return error;
  }
  auto text =
      fmt::format("disk {} ({}): {} failed: {}", number_, image_->path(), what, error.message());
  if (stops_for(error)) {
    text += "; the guest stands still, and tries again every second";
    stopped_for_ = what;
    stands_still_ = true;
  }
  if (text != complaint_) log::error("disk.failed", {log::kv("why", text)});
  complaint_ = std::move(text);
  return error;
}

Result<std::unique_ptr<GuestDisks>> GuestDisks::open(const config::Guest& guest) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<GuestDisks> all{new GuestDisks};
  for (const auto& disk : guest.disk()) {
    UNDERSTUDY_TRY(auto image, ImageFile::open(disk.path()));
    const auto number = static_cast<std::uint16_t>(all->disks_.size());
    all->disks_.push_back(
        std::make_unique<GuestDisk>(number, std::move(image), all->log_, disk.on_error()));
    auto& opened = *all->disks_.back();
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
      return fail_errno("socketpair");
    all->wiring_.push_back({UniqueFd{ends[1]}, opened.bytes()});
    all->servers_.push_back(std::make_unique<NbdServer>(
        UniqueFd{ends[0]},
        std::vector<NbdServer::Export>{{hypervisor::disk_export(number), &opened}}));
  }
  return all;
}

GuestDisks::~GuestDisks() {
  log_.close();
  servers_.clear();  // nobody writes any more
  cleaner_.reset();
  if (activity_) activity_->close();
}

Result<> GuestDisks::log_activity(const std::string& guest, const std::string& path) {
  activity_ = std::make_unique<ActivityLog>(
      guest, std::make_unique<ActivityFile>(path),
      ActivityLog::Images{[this] { return identities(); }, [this] { return flush(); }});
  UNDERSTUDY_CHECK(activity_->open());
  cleaner_ = std::make_unique<ActivityCleaner>(*activity_);
  for (const auto& disk : disks_) disk->log_activity(activity_.get());
  return {};
}

Result<std::vector<ImageIdentity>> GuestDisks::identities() const {
  std::vector<ImageIdentity> result;
  for (const auto& disk : disks_) {
    UNDERSTUDY_TRY(const auto one, disk->image().identity());
    result.push_back(one);
  }
  return result;
}

std::error_code GuestDisks::flush() {
  for (const auto& disk : disks_) {
    if (const auto error = disk->image().flush()) return error;
  }
  return {};
}

std::vector<std::uint64_t> GuestDisks::sizes() const {
  std::vector<std::uint64_t> result;
  for (const auto& disk : disks_) result.push_back(disk->bytes());
  return result;
}

void GuestDisks::set_mode(DiskMode mode) {
  for (const auto& disk : disks_) disk->set_mode(mode);
}

std::vector<hypervisor::QemuMachine::DiskWiring> GuestDisks::take_wiring() {
  return std::exchange(wiring_, {});
}

std::string GuestDisks::complaints() const {
  std::string result;
  for (const auto& disk : disks_) {
    const auto one = disk->complaint();
    if (!one.empty()) result += (result.empty() ? "" : "; ") + one;
  }
  return result;
}

}  // namespace understudy::checkpointer
