// Noise that is new in each run, and can be had again.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace understudy {

/// UNDERSTUDY_SEED or a fresh one for the whole process; told once, for a broken invariant stops
/// it.
inline std::uint64_t fuzz_seed() {
  static const auto seed = [] {
    const auto* given = std::getenv("UNDERSTUDY_SEED");
    const auto chosen = given != nullptr ? std::strtoull(given, nullptr, 10)
                                         : std::uint64_t{std::random_device{}()};
    std::fprintf(stderr, "fuzz seed %llu (again: UNDERSTUDY_SEED=%llu)\n",
                 static_cast<unsigned long long>(chosen), static_cast<unsigned long long>(chosen));
    return std::uint64_t{chosen};
  }();
  return seed;
}

}  // namespace understudy
