// Numbers that nobody else has, for sessions and connections.
#pragma once

#include <cstdint>
#include <random>

namespace understudy::replication {

/// 63 random bits, never 0.
[[nodiscard]] inline std::uint64_t random_number() {
  std::random_device random;
  const auto high = std::uint64_t{random()};
  return high << 32U | random() | 1U;
}

}  // namespace understudy::replication
