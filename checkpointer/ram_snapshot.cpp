#include "checkpointer/ram_snapshot.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "config/assert.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

RamSnapshot::RamSnapshot(std::span<const std::byte> source, std::span<std::byte> target)
    : source_{source},
      target_{target},
      // NOLINTNEXTLINE(cppcoreguidelines-avoid-c-arrays): an atomic cannot live in a vector
      claimed_{std::make_unique<std::atomic<bool>[]>(source.size() / page_bytes)} {
  UNDERSTUDY_ASSERT(source.size() == target.size(), "a copy has the size of its original");
  UNDERSTUDY_ASSERT(source.size() % page_bytes == 0, "an image is whole pages");
}

void RamSnapshot::begin(std::vector<bool> used) {
  used_ = std::move(used);
  used_.resize(source_.size() / page_bytes);
}

bool RamSnapshot::claim(std::size_t page) {
  return !claimed_[page].exchange(true, std::memory_order_acq_rel);
}

void RamSnapshot::preserve(std::size_t page) {
  if (page >= used_.size() || !used_[page] || complete_) return;
  if (!claim(page)) return;
  const auto at = page * page_bytes;
  std::memcpy(target_.data() + at, source_.data() + at, page_bytes);
}

/// May read while the page is being written to; what it read is dropped then.
void RamSnapshot::copy_page(std::size_t page) {
  if (claimed_[page].load(std::memory_order_acquire)) return;
  std::array<std::byte, page_bytes> held;
  const auto at = page * page_bytes;
  std::memcpy(held.data(), source_.data() + at, page_bytes);
  if (claim(page)) std::memcpy(target_.data() + at, held.data(), page_bytes);
}

bool RamSnapshot::copy(std::size_t pages) {
  const std::lock_guard lock{source_mutex_};
  auto page = next_.load();
  for (std::size_t copied = 0; page < used_.size() && copied < pages && !detached_; ++page) {
    if (!used_[page]) continue;
    copy_page(page);
    ++copied;
  }
  next_ = page;
  if (!detached_ && page == used_.size()) complete_ = true;
  return !detached_ && !complete_;
}

double RamSnapshot::fraction() const {
  const auto pages = source_.size() / page_bytes;
  return pages == 0 ? 1 : static_cast<double>(next_.load()) / static_cast<double>(pages);
}

void RamSnapshot::detach() {
  const std::lock_guard lock{source_mutex_};
  detached_ = true;
}

}  // namespace understudy::checkpointer
