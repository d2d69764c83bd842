// The command line of a simulation: one seed, or many on some threads; failures are named.
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

/// Returns the exit status.
[[nodiscard]] int run_seeds(int argc, char** argv, const std::string& about,
                            const Simulation& simulation);

}  // namespace understudy::sim
