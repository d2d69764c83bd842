// A story of faults and commands that a world goes through, after which all must heal: by seed.
#pragma once

#include <bitset>
#include <optional>
#include <string>
#include <vector>

#include "coverage.hpp"
#include "failover_world.hpp"

namespace understudy::sim {

/// In rounds that a seed chooses, each by itself.
inline constexpr int story_rounds = 40;
using Rounds = std::bitset<story_rounds>;

struct FailoverVerdict {
  std::string failure;             ///< what was violated; empty: nothing
  std::vector<std::string> story;  ///< what was done in each round, if it was asked for
  Coverage coverage;
  std::uint64_t guests{};
  std::uint64_t steps{};
  std::uint64_t promotions{};
  std::uint64_t switchovers{};
  std::uint64_t protections{};
  std::uint64_t epochs{};
  std::uint64_t answers{};
  std::uint64_t fences{};
  std::uint64_t confirmations{};

  FailoverVerdict& operator+=(const FailoverVerdict& other);
  /// What has happened, in numbers.
  [[nodiscard]] std::string text() const;
};

struct StoryOptions {
  Mutant mutant{Mutant::none};
  Rounds left_out{};
  bool tell{};
  // Instead of what the seed says.
  int hosts{};
  int guests{};
  int pace{};  ///< at most so many steps a round

  /// Of a command line that does the same.
  [[nodiscard]] std::string arguments() const;
};
[[nodiscard]] FailoverVerdict run_failover(std::uint64_t seed, const StoryOptions& options = {});

/// The same failure with as little as it needs: how to have it again, and its story. `seed` must
/// fail.
[[nodiscard]] std::string minimised_failover(std::uint64_t seed, StoryOptions options = {});

}  // namespace understudy::sim
