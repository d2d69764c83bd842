// Runs a simulation for many seeds, on some threads; failures are named.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace understudy::sim {

struct Simulation {
  /// Runs a seed, on any of several threads at once; returns what went wrong (empty: nothing).
  std::function<std::string(std::uint64_t seed)> one;
  /// The least that still makes a failing seed fail.
  std::function<std::string(std::uint64_t seed)> minimised;
  /// What has happened in all.
  std::function<std::string()> summary;
};

struct Seeds {
  std::uint64_t first{1};
  std::uint64_t count{10'000};
  unsigned jobs{2};
  unsigned minutes{};  ///< after so many no other begins; 0: all do
};

/// Returns the exit status.
[[nodiscard]] int run_seeds(const Seeds& seeds, const Simulation& simulation);

}  // namespace understudy::sim
