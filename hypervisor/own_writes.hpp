// What this process writes into a guest's RAM through mappings of its own (see own_mappings.hpp),
// found like the guest's own writes: asynchronous write protection and PAGEMAP_SCAN, here on
// ourselves.
//
// Why not the ways that vhost offers: a log of writes (VHOST_F_LOG_ALL) exists only while QEMU
// itself migrates, and noting each address would mean to parse rings and buffers once more, beside
// the library, and to trust that both agree. The page tables cannot miss a write, whoever makes it.
// It costs a fault per page and scan (some microseconds), and a walk over the page tables: 0.7 ms
// per GiB of the guest, like that over QEMU's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include <sys/types.h>

#include "config/own_mappings.hpp"
#include "config/result.hpp"
#include "hypervisor/dirty_tracker.hpp"

namespace understudy::hypervisor {

class OwnWrites final : public OwnMappings {
 public:
  /// `ram` is main RAM's file, of `bytes`: what is mapped must be it. Before the first mapping.
  [[nodiscard]] Result<> belong_to(int ram, std::uint64_t bytes);

  /// Starts, or restarts: what was written before is forgotten.
  [[nodiscard]] Result<> track();

  /// Visits what was written since the last harvest, in order (offset in main RAM, size; whole
  /// pages), up to `max_pages` in all; the rest stays written. An error is for ever, until `track`:
  /// a mapping could not be watched.
  using Visit = std::function<Result<>(std::uint64_t offset, std::uint64_t size)>;
  [[nodiscard]] Result<> harvest(std::uint64_t max_pages, const Visit& visit);

  void before_change(const void* user) override;
  void mapped(const void* user, const std::vector<OwnMapping>& mappings) override;

 private:
  struct Range {
    std::uint64_t address;
    std::uint64_t size;
  };
  [[nodiscard]] Result<Range> check(const OwnMapping& mapping) const;
  [[nodiscard]] Result<> collect();
  void note(const Result<>& outcome);

  std::mutex mutex_;  // for all below
  dev_t device_{};
  ino_t inode_{};
  std::uint64_t ram_bytes_{};
  std::map<const void*, std::vector<Range>> ranges_;
  std::optional<DirtyTracker> tracker_;
  std::set<std::uint64_t> written_;  // offsets of pages; no more than the RAM has
  std::optional<Error> unfit_;       // a mapping that nobody can track
  std::optional<Error> failed_;
};

}  // namespace understudy::hypervisor
