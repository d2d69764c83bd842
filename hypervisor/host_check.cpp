#include "hypervisor/host_check.hpp"

#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <string>

#include "config/types.hpp"
#include "hypervisor/dirty_tracker.hpp"
#include "hypervisor/qemu_command.hpp"

namespace understudy::hypervisor {
namespace {

bool in_path(const std::string& program) {
  // Before any thread is started, and nobody sets it.
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
  std::istringstream folders{path == nullptr ? "/usr/bin:/bin" : path};
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access(fmt::format("{}/{}", folder, program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace

Result<> check_host() {
  if (::sysconf(_SC_PAGESIZE) != static_cast<long>(page_bytes)) {
    return fail(ErrorKind::unavailable,
                "this host's pages are not 4 KiB: only x86-64 hosts are supported");
  }
  if (!in_path(qemu_program)) {
    return fail(ErrorKind::unavailable,
                "{} is not installed (not in PATH); on Debian: apt install qemu-system-x86",
                qemu_program);
  }
  return DirtyTracker::supported();
}

}  // namespace understudy::hypervisor
