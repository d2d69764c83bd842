#include "checkpointer/ram_snapshot.hpp"

#include <array>
#include <cstring>
#include <thread>
#include <utility>

#include "config/assert.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {
namespace {

using Word [[gnu::may_alias]] = std::uint64_t;
using HeldPage = std::array<std::byte, page_bytes>;

/// Reads a page that a writer may be changing: a claim decides afterwards whether it was, and then
/// what was read is dropped. ThreadSanitizer sees the race, and not the claim that ends it.
__attribute__((no_sanitize("thread"))) void read_while_changing(const std::byte* page,
                                                                HeldPage& held) {
  const auto* from = reinterpret_cast<const volatile Word*>(page);
  auto* to = reinterpret_cast<Word*>(held.data());
  for (std::size_t i = 0; i < page_bytes / sizeof(Word); ++i) to[i] = from[i];
}

}  // namespace

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

void RamSnapshot::take(std::size_t page) {
  if (states_[page].load(std::memory_order_acquire) != State::waiting) return;
  alignas(Word) HeldPage held;
  read_while_changing(source_.data() + page * page_bytes, held);
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
