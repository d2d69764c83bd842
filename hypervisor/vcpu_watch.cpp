#include "hypervisor/vcpu_watch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace understudy::hypervisor {
namespace {

bool is_asleep(const UniqueFd& state) {
  std::array<char, 64> text;  // number, name of at most 15 characters in brackets, state
  const auto got = ::pread(state.get(), text.data(), text.size(), 0);
  if (got <= 0) return false;
  const std::string_view line{text.data(), static_cast<std::size_t>(got)};
  const auto name_ends = line.rfind(") ");
  return name_ends != std::string_view::npos && line.substr(name_ends + 2, 1) == "S";
}

}  // namespace

Result<VcpuWatch> VcpuWatch::open(pid_t process, std::span<const pid_t> threads) {
  std::vector<UniqueFd> states;
  for (const auto thread : threads) {
    const auto path = fmt::format("/proc/{}/task/{}/stat", process, thread);
    UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return fail_errno(path);
    states.push_back(std::move(file));
  }
  return VcpuWatch{std::move(states)};
}

bool VcpuWatch::all_asleep() const {
  return !states_.empty() && std::ranges::all_of(states_, is_asleep);
}

}  // namespace understudy::hypervisor
