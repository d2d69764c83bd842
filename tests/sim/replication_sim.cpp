// Runs the replication simulation for seeds, and names those that fail.
#include <mutex>

#include <fmt/format.h>

#include "replication_world.hpp"
#include "seed_runner.hpp"

using namespace understudy;

int main(int argc, char** argv) {
  std::mutex mutex;
  sim::Verdict sum;
  std::uint64_t given_up = 0;
  const auto one = [&](std::uint64_t seed) {
    const auto verdict = sim::run_replication(seed);
    const std::lock_guard lock{mutex};
    sum.packets += verdict.packets;
    sum.resent += verdict.resent;
    sum.connections += verdict.connections;
    sum.epochs += verdict.epochs;
    given_up += verdict.given_up ? 1 : 0;
    return verdict.failure;
  };
  return sim::run_seeds(
      argc, argv, "Simulates a primary and a backup over a bad network, seed by seed",
      {.one = one, .minimised = sim::minimised_replication, .summary = [&] {
         return fmt::format("{} packets, {} connections, {} epochs; {} sessions given up",
                            sum.packets, sum.connections, sum.epochs, given_up);
       }});
}
