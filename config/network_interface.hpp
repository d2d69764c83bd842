// A Linux interface, as the kernel's ioctls name it. netdevice(7).
#pragma once

#include <net/if.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>

namespace understudy {

/// A request about the interface; a name that is too long is cut.
[[nodiscard]] inline ifreq interface_request(const std::string& name) {
  ifreq request{};
  std::copy_n(name.begin(), std::min(name.size(), std::size_t{IFNAMSIZ - 1}),
              std::begin(request.ifr_name));
  return request;
}

}  // namespace understudy
