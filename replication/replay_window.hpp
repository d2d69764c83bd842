// Which record numbers have come already, on a link that repeats and reorders. Pure.
//
// A sliding window behind the newest number (RFC 4303 3.4.3): each number is fresh once; what is
// older than the window is never fresh. Ask before opening a record, tell only when its tag holds:
// else a forger could move the window.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "config/limits.hpp"

namespace understudy::replication {

class ReplayWindow {
 public:
  /// Within the window and not accepted yet.
  [[nodiscard]] bool fresh(std::uint64_t number) const;

  /// It has come. Moves the window when it is the newest; a number that is not fresh changes
  /// nothing.
  void accept(std::uint64_t number);

 private:
  static constexpr std::size_t word_bits = 64;
  static constexpr std::size_t words = limits::replay_window_records / word_bits;

  [[nodiscard]] bool seen(std::uint64_t number) const;
  void forget_between(std::uint64_t first, std::uint64_t last);

  std::array<std::uint64_t, words> seen_{};  ///< a ring of bits, by number
  std::uint64_t newest_{};
  bool any_{};
};

}  // namespace understudy::replication
