#include "hypervisor/dirty_tracker.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "config/types.hpp"

namespace understudy::hypervisor {
namespace {

constexpr std::size_t regions_per_call = 4096;
constexpr std::uint64_t features =
    kernel::feature_wp_async | kernel::feature_wp_shmem | UFFD_FEATURE_PAGEFAULT_FLAG_WP;

Result<> agree_on_features(int userfault) {
  uffdio_api api{UFFD_API, features, 0};
  // SAFETY: `api` is the structure this ioctl expects and outlives the call.
  if (::ioctl(userfault, UFFDIO_API, &api) == 0) return {};
  return fail(
      ErrorKind::unavailable,
      "this kernel cannot track writes from outside (userfaultfd without asynchronous write "
      "protection of shared memory); Linux 6.7 or later is needed");
}

struct Scanned {
  std::uint64_t end;  ///< where the kernel stopped, with the list full or the range done
  std::size_t regions;
};

Result<Scanned> scan(int pagemap, kernel::PagemapScan request) {
  request.size = sizeof request;
  request.category_mask = kernel::page_is_written;
  request.return_mask = kernel::page_is_written;
  // SAFETY: `regions` points to `regions_length` elements of the caller's vector.
  const int found = ::ioctl(pagemap, kernel::pagemap_scan, &request);
  if (found < 0) return fail_errno("PAGEMAP_SCAN");
  return Scanned{request.walk_end, static_cast<std::size_t>(found)};
}

}  // namespace

DirtyTracker::DirtyTracker(UniqueFd userfault, UniqueFd pagemap)
    : userfault_{std::move(userfault)}, pagemap_{std::move(pagemap)}, regions_(regions_per_call) {}

Result<DirtyTracker> DirtyTracker::create(pid_t pid, UniqueFd userfault) {
  UNDERSTUDY_CHECK(agree_on_features(userfault.get()));
  UniqueFd pagemap{::open(fmt::format("/proc/{}/pagemap", pid).c_str(), O_RDONLY | O_CLOEXEC)};
  if (!pagemap) return fail_errno("opening QEMU's pagemap");
  return DirtyTracker{std::move(userfault), std::move(pagemap)};
}

Result<> DirtyTracker::watch(std::uint64_t address, std::uint64_t size) {
  uffdio_register range{{address, size}, UFFDIO_REGISTER_MODE_WP, 0};
  // SAFETY: the range is a mapping of the traced process, named by its own allocator.
  if (::ioctl(userfault_.get(), UFFDIO_REGISTER, &range) != 0) {
    return fail_errno("userfaultfd refused to watch guest memory");
  }
  return harvest(address, size, ~std::uint64_t{0},
                 [](std::uint64_t, std::uint64_t) { return Result<>{}; });
}

Result<> DirtyTracker::harvest(std::uint64_t address, std::uint64_t size, std::uint64_t max_pages,
                               const Visit& visit) {
  const auto end = address + size;
  for (auto at = address; at < end && max_pages > 0;) {
    kernel::PagemapScan request{};
    request.flags = kernel::scan_write_protect | kernel::scan_check_async;
    request.start = at;
    request.end = end;
    request.max_pages = max_pages;
    // SAFETY: the address of a live vector, given to the kernel as a number.
    request.regions = reinterpret_cast<std::uint64_t>(regions_.data());
    request.regions_length = regions_.size();
    UNDERSTUDY_TRY(const auto scanned, scan(pagemap_.get(), request));
    for (const auto& region : std::span{regions_}.first(scanned.regions)) {
      UNDERSTUDY_CHECK(visit(region.start, region.end - region.start));
      max_pages -= std::min(max_pages, (region.end - region.start) / page_bytes);
    }
    at = scanned.end;
  }
  return {};
}

Result<> DirtyTracker::supported() {
  if (::sysconf(_SC_PAGESIZE) != static_cast<long>(page_bytes)) {
    return fail(ErrorKind::unavailable, "this host's pages are not of 4096 bytes");
  }
  const auto userfault = UniqueFd{static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC))};
  if (!userfault) {
    return fail_errno("userfaultfd is refused; run as root, or set vm.unprivileged_userfaultfd=1");
  }
  UNDERSTUDY_CHECK(agree_on_features(userfault.get()));
  const UniqueFd pagemap{::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
  if (!pagemap) return fail_errno("/proc/self/pagemap");
  if (!scan(pagemap.get(), {})) {
    return fail(ErrorKind::unavailable,
                "this kernel has no PAGEMAP_SCAN; Linux 6.7 or later is needed");
  }
  return {};
}

}  // namespace understudy::hypervisor
