#include "config/dpdk_runtime.hpp"

#include <sched.h>
#include <signal.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "config/log.hpp"

namespace understudy::dpdk {
namespace {

std::mutex mutex;  // for all below
RuntimeOptions wanted;
std::optional<Result<>> started;

std::mutex words_mutex;  // DPDK speaks on any thread
bool listening = false;
std::string words;

void say(std::string_view line) {
  if (line.empty()) return;
  const std::lock_guard lock{words_mutex};
  if (!listening) {
    log::warning("dpdk.said", {log::kv("text", line)});
  } else if (words.size() < 400) {
    words += words.empty() ? "" : "; ";
    words += line;
  }
}

/// What DPDK writes, line by line.
ssize_t take_words(void*, const char* text, std::size_t size) {
  std::string_view rest{text, size};
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    say(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return static_cast<ssize_t>(size);
}

/// Never closed: DPDK keeps it.
void redirect_words() {
  cookie_io_functions_t functions{};
  functions.write = &take_words;
  if (FILE* stream = ::fopencookie(nullptr, "w", functions); stream != nullptr) {
    ::setvbuf(stream, nullptr, _IOLBF, 0);
    ::rte_openlog_stream(stream);
  }
}

/// Huge pages are taken as they are needed; what is missing later cannot be had in another way.
bool enough_huge_pages(std::size_t mib) {
  std::ifstream meminfo{"/proc/meminfo"};
  std::string key;
  std::size_t value{};
  std::size_t free{};
  while (meminfo >> key >> value) {
    if (key == "HugePages_Free:") free = value;
    if (key == "Hugepagesize:") return free * value >= (mib << 10U);
    meminfo.ignore(64, '\n');
  }
  return false;
}

/// DPDK's main thread gets one processor; it ends, and the others are ours and go where they like.
std::string any_processor() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  std::size_t first = 0;
  while (first + 1 < CPU_SETSIZE && !CPU_ISSET(first, &allowed)) ++first;
  return fmt::format("0@{}", first);
}

std::vector<std::string> arguments(const RuntimeOptions& options, bool huge) {
  std::vector<std::string> words_for_it{"understudyd", "--no-telemetry", "--log-level=4",
                                        "--lcores", any_processor(),
                                        // No NIC is taken at the start: each is named when opened.
                                        "-a", "0000:00:00.0"};
  if (huge) {
    words_for_it.emplace_back("--in-memory");
  } else {
    for (const auto* word : {"--no-huge", "--no-shconf", "-m"}) words_for_it.emplace_back(word);
    words_for_it.push_back(fmt::format("{}", options.memory_mib));
  }
  return words_for_it;
}

Result<> initialise(const RuntimeOptions& options) {
  const bool huge = enough_huge_pages(options.memory_mib);
  auto text = arguments(options, huge);
  std::vector<char*> argv;
  for (auto& word : text) argv.push_back(word.data());
  const Listening ears;
  if (::rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    return fail(ErrorKind::unavailable,
                "DPDK cannot start: {} ({}); give the host huge pages or lower dpdk.memory_mib",
                ::rte_strerror(rte_errno), ears.heard());
  }
  log::info("dpdk.started", {log::kv("memory_mib", options.memory_mib),
                             log::kv("memory", huge ? "huge pages" : "ordinary pages")});
  return {};
}

}  // namespace

void configure(const RuntimeOptions& options) {
  const std::lock_guard lock{mutex};
  wanted = options;
}

Result<> start_runtime() {
  const std::lock_guard lock{mutex};
  if (started) return *started;
  redirect_words();
  // DPDK binds the thread that starts it to one processor, and that one's children; they take no
  // signals that are meant for the daemon.
  std::thread{[] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    started = initialise(wanted);
  }}.join();
  return *started;
}

Listening::Listening() {
  const std::lock_guard lock{words_mutex};
  words.clear();
  listening = true;
}

Listening::~Listening() {
  const std::lock_guard lock{words_mutex};
  listening = false;
}

std::string Listening::heard() const {
  const std::lock_guard lock{words_mutex};
  return words.empty() ? "it does not say why" : words;
}

}  // namespace understudy::dpdk
