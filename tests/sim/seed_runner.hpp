// The command line of a simulation: one seed, or many on some threads; failures are named.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace understudy::sim {

/// `one` runs a seed, on any of several threads at once, and returns what went wrong (empty:
/// nothing); `summary` says at the end what has happened in all. Returns the exit status.
[[nodiscard]] int run_seeds(int argc, char** argv, const std::string& about,
                            const std::function<std::string(std::uint64_t seed)>& one,
                            const std::function<std::string()>& summary);

}  // namespace understudy::sim
