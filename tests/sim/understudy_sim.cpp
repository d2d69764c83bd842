// Runs a simulation for seeds, on some threads, and names those that fail.
//   understudy_sim --first-seed 1 --seeds 1000000 --jobs 2
//   understudy_sim --seed 4711               # once more, told; the rest of the line as it was
//   given understudy_sim --world replication --seeds 100000
#include <mutex>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "config/log.hpp"
#include "failover_story.hpp"
#include "replication_world.hpp"
#include "seed_runner.hpp"

using namespace understudy;

namespace {

/// Of a world: what `run(seed)` comes to, summed up.
template <class Verdict>
int run_world(const sim::Seeds& seeds, const std::function<Verdict(std::uint64_t)>& run,
              const std::function<std::string(std::uint64_t)>& minimised) {
  std::mutex mutex;
  Verdict sum;
  const auto one = [&](std::uint64_t seed) {
    const auto verdict = run(seed);
    const std::lock_guard lock{mutex};
    sum += verdict;
    return verdict.failure;
  };
  return sim::run_seeds(
      seeds, {.one = one, .minimised = minimised, .summary = [&] { return sum.text(); }});
}

int run_failover(const sim::Seeds& seeds, const sim::StoryOptions& options) {
  return run_world<sim::FailoverVerdict>(
      seeds,
      [&](std::uint64_t seed) {
        auto verdict = sim::run_failover(seed, options);
        if (options.tell) fmt::print("{}\n", fmt::join(verdict.story, "\n"));
        return verdict;
      },
      [&](std::uint64_t seed) { return sim::minimised_failover(seed, options); });
}

int run_replication(const sim::Seeds& seeds) {
  return run_world<sim::Verdict>(
      seeds, [](std::uint64_t seed) { return sim::run_replication(seed); },
      sim::minimised_replication);
}

sim::Rounds all_but(const std::vector<std::size_t>& kept) {
  sim::Rounds left_out;
  if (!kept.empty()) left_out.set();
  for (const auto round : kept) left_out.reset(round);
  return left_out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Simulates hosts, their guests and all that can befall them, by seed"};
  std::string world = "failover";
  std::uint64_t only = 0;
  sim::Seeds seeds;
  sim::StoryOptions story;
  std::vector<std::size_t> rounds;
  int mutant = 0;
  app.add_option("--world", world, "who may run a guest, or how its checkpoints travel")
      ->check(CLI::IsMember({"failover", "replication"}));
  app.add_option("--seed", only, "this one");
  app.add_option("--first-seed", seeds.first, "the first of many");
  app.add_option("--seeds", seeds.count, "how many");
  app.add_option("--jobs", seeds.jobs, "threads")->check(CLI::Range(1, 64));
  app.add_option("--minutes", seeds.minutes, "no seed begins after them");
  const std::string less = "Less than the seed says (failover)";
  app.add_option("--hosts", story.hosts, "so many")->check(CLI::Range(2, 5))->group(less);
  app.add_option("--guests", story.guests, "so many")->check(CLI::Range(1, 3))->group(less);
  app.add_option("--pace", story.pace, "at most so many steps a round")->group(less);
  app.add_option("--rounds", rounds, "only these")
      ->delimiter(',')
      ->check(CLI::Range(0, sim::story_rounds - 1))
      ->group(less);
  app.add_option("--mutant", mutant, "a fault of the machines themselves, by number (failover)")
      ->check(CLI::Range(0, sim::mutants - 1));
  CLI11_PARSE(app, argc, argv);
  if (only != 0) {
    seeds = {only, 1, 1, 0};
  } else {
    log::configure(log::Level::error, "sim");
  }
  if (world == "replication") return run_replication(seeds);
  story.tell = only != 0;
  story.left_out = all_but(rounds);
  story.mutant = static_cast<sim::Mutant>(mutant);
  return run_failover(seeds, story);
}
