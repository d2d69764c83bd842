#include "replication/replay_window.hpp"

namespace understudy::replication {
namespace {

constexpr std::uint64_t width = limits::replay_window_records;

}  // namespace

bool ReplayWindow::seen(std::uint64_t number) const {
  const auto bit = static_cast<std::size_t>(number % width);
  return (seen_.at(bit / word_bits) >> (bit % word_bits) & 1U) != 0;
}

bool ReplayWindow::fresh(std::uint64_t number) const {
  if (!any_ || number > newest_) return true;
  return newest_ - number < width && !seen(number);
}

void ReplayWindow::accept(std::uint64_t number) {
  if (!fresh(number)) return;
  if (!any_ || number > newest_) {
    // Of a jump over the whole window nothing is left; else what slides in has not been seen.
    if (!any_ || number - newest_ >= width) {
      seen_.fill(0);
    } else {
      forget_between(newest_ + 1, number);
    }
    newest_ = number;
    any_ = true;
  }
  const auto bit = static_cast<std::size_t>(number % width);
  seen_.at(bit / word_bits) |= std::uint64_t{1} << (bit % word_bits);
}

void ReplayWindow::forget_between(std::uint64_t first, std::uint64_t last) {
  for (auto number = first;; ++number) {
    const auto bit = static_cast<std::size_t>(number % width);
    seen_.at(bit / word_bits) &= ~(std::uint64_t{1} << (bit % word_bits));
    if (number == last) return;
  }
}

}  // namespace understudy::replication
