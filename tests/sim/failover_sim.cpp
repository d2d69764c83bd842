// Runs the simulation of who may run a guest for seeds, and names those that fail.
#include <mutex>

#include <fmt/format.h>

#include "failover_world.hpp"
#include "seed_runner.hpp"

using namespace understudy;

int main(int argc, char** argv) {
  std::mutex mutex;
  sim::FailoverVerdict sum;
  const auto one = [&](std::uint64_t seed) {
    const auto verdict = sim::run_failover(seed);
    const std::lock_guard lock{mutex};
    sum.steps += verdict.steps;
    sum.promotions += verdict.promotions;
    sum.switchovers += verdict.switchovers;
    sum.protections += verdict.protections;
    sum.coverage += verdict.coverage;
    sum.fences += verdict.fences;
    sum.confirmations += verdict.confirmations;
    return verdict.failure;
  };
  const auto minimised = [](std::uint64_t seed) { return sim::minimised_failover(seed); };
  return sim::run_seeds(
      argc, argv, "Simulates hosts, a witness and a guest that must run on one of them",
      {.one = one, .minimised = minimised, .summary = [&] {
         return fmt::format(
                    "{} steps, {} promotions, {} switchovers, {} protections, {} fenced, {} "
                    "confirmed dead",
                    sum.steps, sum.promotions, sum.switchovers, sum.protections, sum.fences,
                    sum.confirmations) +
                sum.coverage.text();
       }});
}
