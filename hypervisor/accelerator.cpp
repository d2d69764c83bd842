#include "hypervisor/accelerator.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "hypervisor/child_process.hpp"

namespace understudy::hypervisor {
namespace {

std::set<std::string> cpu_flags() {
  std::ifstream cpuinfo{"/proc/cpuinfo"};
  std::string line;
  while (std::getline(cpuinfo, line)) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words{line.substr(line.find(':') + 1)};
    return {std::istream_iterator<std::string>{words}, {}};
  }
  return {};
}

/// SeaBIOS greets on the debug port once it runs.
bool firmware_boots() {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return false;
  const UniqueFd reading{pipe[0]};
  UniqueFd writing{pipe[1]};
  const auto output = fmt::format("file:/proc/self/fd/{}", writing.get());
  auto child =
      ChildProcess::start({{"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display",
                            "none", "-machine", "pc", "-accel", "kvm", "-m", "32M", "-debugcon",
                            output, "-global", "isa-debugcon.iobase=0x402"},
                           {},
                           {writing.get()}});
  writing.reset();
  if (!child) return false;
  std::string said;
  const auto deadline = now() + limits::accelerator_probe;
  while (said.find("SeaBIOS") == std::string::npos && now() < deadline) {
    pollfd waiting{reading.get(), POLLIN, 0};
    std::array<char, 512> chunk;
    if (::poll(&waiting, 1, 100) <= 0) continue;
    const auto got = ::read(reading.get(), chunk.data(), chunk.size());
    if (got <= 0) return false;
    said.append(chunk.data(), static_cast<std::size_t>(got));
  }
  return said.find("SeaBIOS") != std::string::npos;
}

/// Empty: KVM works.
std::string why_not_kvm() {
  const auto flags = cpu_flags();
  if (!flags.contains("vmx") && !flags.contains("svm")) {
    return "this CPU offers neither vmx nor svm";
  }
  if (::access("/dev/kvm", R_OK | W_OK) != 0) return "/dev/kvm cannot be opened";
  if (!firmware_boots()) return "firmware does not boot under KVM";
  return {};
}

const std::string& kvm_verdict() {
  static std::once_flag once;
  static std::string verdict;
  std::call_once(once, [] { verdict = why_not_kvm(); });
  return verdict;
}

}  // namespace

Result<AcceleratorChoice> choose_accelerator(config::Accelerator wanted) {
  if (wanted == config::TCG) return AcceleratorChoice{config::TCG, "configured"};
  const auto& obstacle = kvm_verdict();
  if (obstacle.empty()) return AcceleratorChoice{config::KVM, "firmware boots under it"};
  if (wanted == config::KVM) {
    return fail(ErrorKind::unavailable,
                "KVM does not work on this host ({}); use accelerator: AUTO or TCG", obstacle);
  }
  return AcceleratorChoice{config::TCG, obstacle};
}

std::string host_cpu_features() {
  const auto flags = cpu_flags();
  return fmt::format("{}", fmt::join(flags, " "));
}

}  // namespace understudy::hypervisor
