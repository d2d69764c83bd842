// Linked beside other tests it lets them run with their packets in huge pages.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

#include "config/limits.hpp"
#include "tests/integration/dpdk/two_ports.hpp"

using namespace understudy;
using namespace understudy::testing;

namespace {

constexpr std::size_t wanted_mib = 192;  // of which DPDK wants 128 to begin with

std::size_t field(const char* file, const std::string& name) {
  std::ifstream in{file};
  std::size_t sum = 0;
  for (std::string key; in >> key;) {
    std::size_t value{};
    if (key == name && in >> value) sum += value;
  }
  return sum;
}

constexpr const char* reservation = "/proc/sys/vm/nr_hugepages";

void reserve(std::size_t pages) {
  std::ofstream{reservation} << pages << std::flush;
}

/// Why not; nothing: they are there.
std::optional<std::string> take(std::size_t before) {
  const auto each = field("/proc/meminfo", "Hugepagesize:") >> 10U;  // MiB
  if (each == 0 || each > wanted_mib) return "this kernel has no huge pages of 2 MiB";
  reserve(before + wanted_mib / each);
  if (field("/proc/meminfo", "HugePages_Free:") * each >= wanted_mib) return std::nullopt;
  return "no memory, or no right, to reserve huge pages";
}

/// The tests run in a child, so that the host gets its pages back however they end.
bool run_with_huge_pages() {
  std::size_t before{};
  std::ifstream{reservation} >> before;
  const auto why_not = take(before);
  const auto child = why_not ? -1 : ::fork();
  if (child == 0) return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  int status = 77 << 8U;
  if (why_not) std::puts(why_not->c_str());
  if (child > 0) ::waitpid(child, &status, 0);
  reserve(before);
  std::exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

const bool here = run_with_huge_pages();

}  // namespace

TEST_CASE("packets lie in huge pages where there are enough") {
  Pair pair{65'535};
  send(*pair.a, pair.b->address(), pair.a->datagram_bytes(), 1);
  CHECK(filled(pair.at_b.next().datagram->bytes(), 1));
  const auto kib =
      field("/proc/self/smaps", "Shared_Hugetlb:") + field("/proc/self/smaps", "Private_Hugetlb:");
  WARN(kib / 1024 << " MiB of this process lie in huge pages");
  CHECK(kib * 1024 >= 2 * limits::datagram_memory_bytes);
}
