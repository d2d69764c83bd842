// Which pages of another process have been written: userfaultfd's asynchronous write protection and
// PAGEMAP_SCAN, both from outside. One call returns the written ranges and protects them again,
// atomically per page.
//
// What it sees: every write through the process's own page tables, by its threads or by the kernel
// on their behalf. What it does not see: writes through another process's mapping of the same
// memory (own_writes.hpp has ours), and DMA into pages that were pinned before the last scan
// (O_DIRECT reads into guest RAM); the machine's adapter must not use either. Sources:
// ioctl_userfaultfd(2), pagemap.rst of Linux 6.7.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <sys/types.h>

#include "config/result.hpp"
#include "config/unique_fd.hpp"
#include "hypervisor/linux_pagemap.hpp"

namespace understudy::hypervisor {

/// One thread at a time. Ends all protection when destroyed.
class DirtyTracker {
 public:
  /// `userfault` must belong to `pid`'s address space and be fresh.
  [[nodiscard]] static Result<DirtyTracker> create(pid_t pid, UniqueFd userfault);

  /// Registers a range and protects what is populated.
  [[nodiscard]] Result<> watch(std::uint64_t address, std::uint64_t size);

  /// Visits the written ranges inside a watched range (start, size; whole pages), in order, up to
  /// `max_pages` in all; the rest stays written.
  using Visit = std::function<Result<>(std::uint64_t start, std::uint64_t size)>;
  [[nodiscard]] Result<> harvest(std::uint64_t address, std::uint64_t size, std::uint64_t max_pages,
                                 const Visit& visit);

  /// Whether this kernel has what the tracker needs; the error says what is missing and the remedy.
  [[nodiscard]] static Result<> supported();

 private:
  DirtyTracker(UniqueFd userfault, UniqueFd pagemap);

  UniqueFd userfault_;
  UniqueFd pagemap_;
  std::vector<kernel::PageRegion> regions_;
};

}  // namespace understudy::hypervisor
