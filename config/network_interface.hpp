// A Linux interface, as the kernel's ioctls name it, and what to ask them with. netdevice(7).
#pragma once

#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>

#include "config/unique_fd.hpp"

namespace understudy {

/// Of the calling thread's network namespace.
[[nodiscard]] inline UniqueFd control_socket() {
  return UniqueFd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
}

/// A request about the interface; a name that is too long is cut.
[[nodiscard]] inline ifreq interface_request(const std::string& name) {
  ifreq request{};
  std::copy_n(name.begin(), std::min(name.size(), std::size_t{IFNAMSIZ - 1}),
              std::begin(request.ifr_name));
  return request;
}

}  // namespace understudy
