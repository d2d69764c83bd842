// Runs the replication simulation for seeds, and names those that fail.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "config/clock.hpp"
#include "config/log.hpp"
#include "replication_world.hpp"

using namespace understudy;

namespace {

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

struct Totals {
  std::mutex mutex;
  sim::Verdict sum;
  std::uint64_t failed{};
  std::uint64_t given_up{};

  void add(std::uint64_t seed, const sim::Verdict& verdict) {
    const std::lock_guard lock{mutex};
    sum.packets += verdict.packets;
    sum.resent += verdict.resent;
    sum.connections += verdict.connections;
    sum.epochs += verdict.epochs;
    given_up += verdict.given_up ? 1 : 0;
    if (verdict.failure.empty()) return;
    ++failed;
    fmt::print("seed {}: {}\n", seed, verdict.failure);
    std::fflush(stdout);
  }
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Simulates a primary and a backup over a bad network, seed by seed"};
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

  Totals totals;
  std::atomic<std::uint64_t> next{first};
  const auto begun = now();
  std::vector<std::thread> threads;
  for (unsigned job = 0; job < jobs; ++job) {
    threads.emplace_back([&] {
      for (auto seed = next++; seed < first + seeds; seed = next++) {
        current_seed = seed;
        totals.add(seed, sim::run_replication(seed));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> took = now() - begun;
  fmt::print(
      "{} seeds in {:.1f} s: {:.0f} seeds/s; {} packets, {} connections, {} epochs; {} "
      "sessions given up; {} failed\n",
      seeds, took.count(), static_cast<double>(seeds) / took.count(), totals.sum.packets,
      totals.sum.connections, totals.sum.epochs, totals.given_up, totals.failed);
  return totals.failed == 0 ? 0 : 1;
}
