#include "seed_runner.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "config/clock.hpp"

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

int run_seeds(const Seeds& seeds, const Simulation& simulation) {
  std::signal(SIGABRT, name_seed);

  std::atomic<std::uint64_t> next{seeds.first};
  std::atomic<std::uint64_t> done{};
  std::atomic<std::uint64_t> failed{};
  const auto begun = now();
  const auto late = [&] {
    return seeds.minutes != 0 && now() - begun > std::chrono::minutes{seeds.minutes};
  };
  std::vector<std::thread> threads;
  for (unsigned job = 0; job < seeds.jobs; ++job) {
    threads.emplace_back([&] {
      for (auto seed = next++; seed < seeds.first + seeds.count && !late(); seed = next++) {
        current_seed = seed;
        const auto failure = simulation.one(seed);
        ++done;
        if (failure.empty()) continue;
        const bool enough = ++failed > told_failures;
        fmt::print("seed {}: {}{}\n", seed, failure, enough ? "" : simulation.minimised(seed));
        std::fflush(stdout);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> took = now() - begun;
  fmt::print("{} seeds in {:.1f} s: {:.0f} seeds/s; {} failed; {}\n", done.load(), took.count(),
             static_cast<double>(done) / took.count(), failed.load(), simulation.summary());
  return failed == 0 ? 0 : 1;
}

}  // namespace understudy::sim
