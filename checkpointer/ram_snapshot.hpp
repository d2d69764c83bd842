// An image frozen at one moment while it goes on changing: copy before write, page by page.
//
//   waiting ──► taken by whoever comes first (the copier, a reader that wants it, or a writer that
//               is about to change it) ──► there, in the target
//
// Copier and readers take a page into a buffer of their own before they claim it: a page that they
// have claimed had not changed until then. So a writer never waits for them, however slowly they
// are scheduled.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace understudy::checkpointer {

class RamSnapshot {
 public:
  /// Where the pages go: each at most once, several threads with different ones at a time.
  using Target = std::function<void(std::size_t page, std::span<const std::byte> contents)>;
  /// An image of zeros, of the source's size.
  [[nodiscard]] static Target into(std::span<std::byte> image);

  /// `source` is whole pages. It outlives the snapshot, or until `detach`. What lies before
  /// `copied_from` is not copied unless it is fetched, or is about to change. Does not look at it
  /// yet.
  RamSnapshot(std::span<const std::byte> source, Target target, std::size_t copied_from = 0);

  /// Freezes the source: nobody writes to it during the call. Only `used` pages may hold something
  /// other than zeros.
  void begin(std::vector<bool> used);

  /// Before the source's page is changed, each time. The thread that writes to the source.
  void preserve(std::size_t page);

  /// Copies up to `pages` further ones; false: all are there, or it was detached. One thread.
  [[nodiscard]] bool copy(std::size_t pages);

  enum class Page : std::uint8_t {
    there,  ///< in the target, now or since earlier
    zeros,  ///< it was never used
    lost    ///< the source was detached before
  };
  /// Has this page in the target. Any thread.
  [[nodiscard]] Page fetch(std::size_t page);

  /// Of what is copied, 0 to 1. Any thread.
  [[nodiscard]] double fraction() const;

  /// The source is about to go: nobody reads it any more. Waits for one piece of `copy`. Any
  /// thread.
  void detach();
  [[nodiscard]] bool detached() const { return detached_; }
  /// Every page that is copied is in the target.
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  enum class State : std::uint8_t { waiting, taken, there };
  void put(std::size_t page, const std::byte* contents);
  void take(std::size_t page);
  [[nodiscard]] bool claim(std::size_t page);
  [[nodiscard]] std::size_t pages() const { return used_.size(); }

  std::span<const std::byte> source_;
  Target target_;
  std::size_t copied_from_;
  std::vector<bool> used_;
  std::unique_ptr<std::atomic<State>[]> states_;
  std::atomic<std::size_t> next_;
  std::atomic<bool> complete_{};
  std::mutex source_mutex_;  ///< of who reads it, against `detach`; writers never take it
  std::atomic<bool> detached_{};
};

}  // namespace understudy::checkpointer
