#include "seed_runner.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "config/clock.hpp"
#include "config/log.hpp"

namespace understudy::sim {
namespace {

constexpr std::uint64_t told_failures = 5;  // the others are only named

thread_local std::uint64_t current_seed = 0;

/// A broken invariant stops the process: it must not take the seed along.
void name_seed(int signal) {
  std::array<char, 32> digits{};
  auto at = digits.size();
  digits[--at] = '\n';
  for (auto rest = current_seed; at > 0; rest /= 10) {
    digits[--at] = static_cast<char>('0' + rest % 10);
    if (rest < 10) break;
  }
  static_cast<void>(::write(STDERR_FILENO, "stopped in seed ", 16) +
                    ::write(STDERR_FILENO, &digits[at], digits.size() - at));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

int run_seeds(int argc, char** argv, const std::string& about, const Simulation& simulation) {
  CLI::App app{about};
  std::uint64_t only = 0;
  std::uint64_t first = 1;
  std::uint64_t seeds = 10'000;
  unsigned jobs = 2;
  app.add_option("--seed", only, "this one");
  app.add_option("--first-seed", first, "the first of many");
  app.add_option("--seeds", seeds, "how many");
  app.add_option("--jobs", jobs, "threads")->check(CLI::Range(1, 64));
  CLI11_PARSE(app, argc, argv);
  if (only != 0) {
    first = only;
    seeds = jobs = 1;
  } else {
    log::configure(log::Level::error, "sim");
  }
  std::signal(SIGABRT, name_seed);

  std::atomic<std::uint64_t> next{first};
  std::atomic<std::uint64_t> failed{};
  const auto begun = now();
  std::vector<std::thread> threads;
  for (unsigned job = 0; job < jobs; ++job) {
    threads.emplace_back([&] {
      for (auto seed = next++; seed < first + seeds; seed = next++) {
        current_seed = seed;
        const auto failure = simulation.one(seed);
        if (failure.empty()) continue;
        const bool enough = ++failed > told_failures;
        fmt::print("seed {}: {}{}\n", seed, failure, enough ? "" : simulation.minimised(seed));
        std::fflush(stdout);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> took = now() - begun;
  fmt::print("{} seeds in {:.1f} s: {:.0f} seeds/s; {} failed; {}\n", seeds, took.count(),
             static_cast<double>(seeds) / took.count(), failed.load(), simulation.summary());
  return failed == 0 ? 0 : 1;
}

}  // namespace understudy::sim
