#include "hypervisor/own_writes.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config/types.hpp"

namespace understudy::hypervisor {

Result<> OwnWrites::belong_to(int ram, std::uint64_t bytes) {
  struct stat about {};
  if (::fstat(ram, &about) != 0) return fail_errno("guest memory");
  const std::lock_guard lock{mutex_};
  device_ = about.st_dev;
  inode_ = about.st_ino;
  ram_bytes_ = bytes;
  return {};
}

Result<> OwnWrites::track() {
  const std::lock_guard lock{mutex_};
  tracker_.reset();
  written_.clear();
  failed_ = unfit_;
  UniqueFd userfault{static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))};
  if (!userfault) return fail_errno("userfaultfd");
  UNDERSTUDY_TRY(tracker_, DirtyTracker::create(::getpid(), std::move(userfault)));
  for (const auto& [user, ranges] : ranges_) {
    for (const auto& range : ranges) UNDERSTUDY_CHECK(tracker_->watch(range.address, range.size));
  }
  return {};
}

Result<> OwnWrites::harvest(std::uint64_t max_pages, const Visit& visit) {
  std::vector<std::uint64_t> found;
  {
    const std::lock_guard lock{mutex_};
    UNDERSTUDY_CHECK(collect());
    if (failed_) return fail(*failed_);
    while (!written_.empty() && found.size() < max_pages) {
      found.push_back(written_.extract(written_.begin()).value());
    }
  }
  // Not under the lock: a visitor may wait for the network, and the backend's thread for us.
  for (const auto offset : found) UNDERSTUDY_CHECK(visit(offset, page_bytes));
  return {};
}

void OwnWrites::before_change(const void* user) {
  const std::lock_guard lock{mutex_};
  note(collect());
  ranges_.erase(user);
}

void OwnWrites::mapped(const void* user, const std::vector<OwnMapping>& mappings) {
  const std::lock_guard lock{mutex_};
  auto& ranges = ranges_[user];
  if (!ranges.empty()) {
    note(fail(ErrorKind::conflict, "a NIC's view of guest memory has changed unannounced"));
    ranges.clear();
  }
  for (const auto& mapping : mappings) {
    const auto range = check(mapping);
    if (!range) {
      unfit_ = range.error();
      note(fail(range.error()));
      continue;
    }
    ranges.push_back(*range);
    if (tracker_) note(tracker_->watch(range->address, range->size));
  }
}

Result<OwnWrites::Range> OwnWrites::check(const OwnMapping& mapping) const {
  struct stat about {};
  if (::fstat(mapping.file, &about) != 0) return fail_errno("a mapping of guest memory");
  if (about.st_dev != device_ || about.st_ino != inode_ || mapping.bytes.size() > ram_bytes_) {
    return fail(ErrorKind::conflict, "QEMU shares memory with a NIC that is not its main RAM");
  }
  // SAFETY: given to the kernel as a number.
  return Range{reinterpret_cast<std::uint64_t>(mapping.bytes.data()), mapping.bytes.size()};
}

Result<> OwnWrites::collect() {
  if (!tracker_) return {};
  for (const auto& [user, ranges] : ranges_) {
    for (const auto& range : ranges) {
      UNDERSTUDY_CHECK(tracker_->harvest(range.address, range.size, ~std::uint64_t{0},
                                         [&](std::uint64_t start, std::uint64_t size) {
                                           for (auto at = start; at < start + size;
                                                at += page_bytes) {
                                             written_.insert(at - range.address);
                                           }
                                           return Result<>{};
                                         }));
    }
  }
  return {};
}

void OwnWrites::note(const Result<>& outcome) {
  if (!outcome && !failed_) failed_ = outcome.error();
}

}  // namespace understudy::hypervisor
