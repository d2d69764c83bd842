#include "checkpointer/ram_snapshot.hpp"

#include <array>
#include <cstring>
#include <thread>
#include <utility>

#include "config/assert.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

RamSnapshot::Target RamSnapshot::into(std::span<std::byte> image) {
  return [image](std::size_t page, std::span<const std::byte> contents) {
    std::memcpy(image.data() + page * page_bytes, contents.data(), contents.size());
  };
}

RamSnapshot::RamSnapshot(std::span<const std::byte> source, Target target, std::size_t copied_from)
    : source_{source},
      target_{std::move(target)},
      copied_from_{copied_from},
      // NOLINTNEXTLINE(cppcoreguidelines-avoid-c-arrays): an atomic cannot live in a vector
      states_{std::make_unique<std::atomic<State>[]>(source.size() / page_bytes)},
      next_{copied_from} {
  UNDERSTUDY_ASSERT(source.size() % page_bytes == 0, "an image is whole pages");
}

void RamSnapshot::begin(std::vector<bool> used) {
  used_ = std::move(used);
  used_.resize(source_.size() / page_bytes);
}

bool RamSnapshot::claim(std::size_t page) {
  auto expected = State::waiting;
  return states_[page].compare_exchange_strong(expected, State::taken, std::memory_order_acq_rel);
}

void RamSnapshot::put(std::size_t page, const std::byte* contents) {
  target_(page, {contents, page_bytes});
  states_[page].store(State::there, std::memory_order_release);
}

void RamSnapshot::preserve(std::size_t page) {
  if (page >= pages() || !used_[page]) return;
  if (claim(page)) put(page, source_.data() + page * page_bytes);
}

/// May read while the page is being written to; what it read is dropped then.
void RamSnapshot::take(std::size_t page) {
  if (states_[page].load(std::memory_order_acquire) != State::waiting) return;
  std::array<std::byte, page_bytes> held;
  std::memcpy(held.data(), source_.data() + page * page_bytes, page_bytes);
  if (claim(page)) put(page, held.data());
}

bool RamSnapshot::copy(std::size_t pages_at_most) {
  const std::lock_guard lock{source_mutex_};
  auto page = next_.load();
  for (std::size_t copied = 0; page < pages() && copied < pages_at_most && !detached_; ++page) {
    if (!used_[page]) continue;
    take(page);
    ++copied;
  }
  next_ = page;
  if (!detached_ && page == pages()) complete_ = true;
  return !detached_ && !complete_;
}

RamSnapshot::Page RamSnapshot::fetch(std::size_t page) {
  if (page >= pages() || !used_[page]) return Page::zeros;
  {
    const std::lock_guard lock{source_mutex_};
    if (!detached_) take(page);
  }
  // A writer that came first is about to have put it there.
  auto state = states_[page].load(std::memory_order_acquire);
  for (; state == State::taken; state = states_[page].load(std::memory_order_acquire))
    std::this_thread::yield();
  return state == State::there ? Page::there : Page::lost;
}

double RamSnapshot::fraction() const {
  const auto all = source_.size() / page_bytes - copied_from_;
  if (all == 0) return 1;
  return static_cast<double>(next_.load() - copied_from_) / static_cast<double>(all);
}

void RamSnapshot::detach() {
  const std::lock_guard lock{source_mutex_};
  detached_ = true;
}

}  // namespace understudy::checkpointer
