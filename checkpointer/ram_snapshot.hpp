// An image frozen at one moment while it goes on changing: copy before write, page by page.
//
//   waiting ──► claimed by whoever comes first: the copier, or a writer that is about to change it
//
// The copier takes a page into a buffer of its own before it claims it: a page that it has claimed
// had not changed until then. So a writer never waits for the copier, however slowly that one is
// scheduled.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace understudy::checkpointer {

class RamSnapshot {
 public:
  /// `target` has the size of `source`, whole pages, and is zero. Both outlive the snapshot, or
  /// until `detach`. Does not look at them yet.
  RamSnapshot(std::span<const std::byte> source, std::span<std::byte> target);

  /// Freezes the source: nobody writes to it during the call. Only `used` pages may hold something
  /// other than zeros.
  void begin(std::vector<bool> used);

  /// Before the source's page is changed, each time. The thread that writes to the source.
  void preserve(std::size_t page);

  /// Copies up to `pages` further ones; false: all are there, or it was detached. One thread.
  [[nodiscard]] bool copy(std::size_t pages);

  /// 0 to 1. Any thread.
  [[nodiscard]] double fraction() const;

  /// The source is about to go: nobody reads it any more. Waits for one piece of `copy`. Any
  /// thread.
  void detach();
  /// Every page of the moment is in the target.
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  [[nodiscard]] bool claim(std::size_t page);
  void copy_page(std::size_t page);

  std::span<const std::byte> source_;
  std::span<std::byte> target_;
  std::vector<bool> used_;
  std::unique_ptr<std::atomic<bool>[]> claimed_;
  std::atomic<std::size_t> next_{};
  std::atomic<bool> complete_{};
  std::mutex source_mutex_;  ///< of the copier, against `detach`; writers never take it
  bool detached_{};
};

}  // namespace understudy::checkpointer
