// Kernel interfaces newer than Debian 12's headers: PAGEMAP_SCAN (Linux 6.7) and asynchronous write
// protection by userfaultfd (Linux 6.7). Source: include/uapi/linux/{fs,userfaultfd}.h,
// Documentation/admin-guide/mm/pagemap.rst.
#pragma once

#include <cstdint>

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

namespace understudy::hypervisor::kernel {

struct PageRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct PagemapScan {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t regions;
  std::uint64_t regions_length;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
static_assert(sizeof(PagemapScan) == 96);

inline constexpr unsigned long pagemap_scan = _IOWR('f', 16, PagemapScan);
inline constexpr std::uint64_t scan_write_protect = 1U << 0U;  // PM_SCAN_WP_MATCHING
inline constexpr std::uint64_t scan_check_async = 1U << 1U;    // PM_SCAN_CHECK_WPASYNC
inline constexpr std::uint64_t page_is_written = 1U << 1U;     // PAGE_IS_WRITTEN

inline constexpr std::uint64_t feature_wp_shmem = 1U << 12U;  // UFFD_FEATURE_WP_HUGETLBFS_SHMEM
inline constexpr std::uint64_t feature_wp_async = 1U << 15U;  // UFFD_FEATURE_WP_ASYNC

}  // namespace understudy::hypervisor::kernel
