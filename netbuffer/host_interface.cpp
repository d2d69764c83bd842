#include "netbuffer/host_interface.hpp"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "config/limits.hpp"
#include "config/network_interface.hpp"

namespace understudy::netbuffer {
namespace {

Result<> set_mac(int control, const std::string& name, const MacAddress& mac) {
  auto request = interface_request(name);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::transform(mac.octets.begin(), mac.octets.end(), std::begin(request.ifr_hwaddr.sa_data),
                 [](std::uint8_t octet) { return static_cast<char>(octet); });
  // SAFETY: reads an ifreq.
  if (::ioctl(control, SIOCSIFHWADDR, &request) != 0) return fail_errno("setting its MAC address");
  return {};
}

Result<> join(int control, const std::string& name, const std::string& bridge) {
  auto request = interface_request(bridge);
  request.ifr_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
  // SAFETY: reads an ifreq.
  if (::ioctl(control, SIOCBRADDIF, &request) == 0) return {};
  if (errno == EOPNOTSUPP || errno == EINVAL) {
    return fail(ErrorKind::invalid, "{} is not a bridge; correct guest.nic.bridge", bridge);
  }
  return fail_errno(fmt::format("joining bridge {}", bridge));
}

std::uint32_t fnv1a(std::string_view text) {
  std::uint32_t hash = 2'166'136'261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619U;
  return hash;
}

}  // namespace

std::string uplink_name(std::string_view guest, std::size_t nic) {
  auto name = fmt::format("us-{}-{}", guest, nic);
  if (name.size() < IFNAMSIZ) return name;
  return fmt::format("us{}{:08x}-{}", guest.substr(0, 3), fnv1a(guest), nic);
}

Result<> check_uplink(const std::string& name, const std::string& bridge) {
  static_assert(limits::interface_name_bytes == IFNAMSIZ);
  if (name.empty() || name.size() >= IFNAMSIZ) {
    return fail(ErrorKind::invalid, "'{}' cannot be an interface's name", name);
  }
  if (bridge.size() >= IFNAMSIZ || ::if_nametoindex(bridge.c_str()) == 0) {
    return fail(ErrorKind::unavailable,
                "bridge {} does not exist on this host; create it or correct guest.nic.bridge",
                bridge);
  }
  return {};
}

// Locally administered and as high as can be: a bridge takes the lowest MAC of its ports.
MacAddress wire_mac(MacAddress guest) {
  guest.octets[0] = guest.octets[0] == 0xfe ? 0xf2 : 0xfe;
  return guest;
}

Result<> join_bridge(const std::string& name, const std::string& bridge, const MacAddress& mac) {
  const auto control = control_socket();
  if (!control) return fail_errno("socket");
  UNDERSTUDY_CHECK(set_mac(control.get(), name, mac));
  silence_ipv6(name);
  UNDERSTUDY_CHECK(join(control.get(), name, bridge));
  return set_up(name);
}

Result<> set_up(const std::string& name) {
  const auto control = control_socket();
  auto request = interface_request(name);
  // SAFETY: both read and write an ifreq.
  if (::ioctl(control.get(), SIOCGIFFLAGS, &request) != 0) return fail_errno("reading its flags");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) return fail_errno("setting it up");
  return {};
}

void silence_ipv6(const std::string& name) {
  const auto path = fmt::format("/proc/sys/net/ipv6/conf/{}/disable_ipv6", name);
  const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (file) [[maybe_unused]]
    const auto told = ::write(file.get(), "1", 1);
}

Result<std::size_t> mtu_of(const std::string& name) {
  const auto control = control_socket();
  auto request = interface_request(name);
  // SAFETY: reads and writes an ifreq.
  if (::ioctl(control.get(), SIOCGIFMTU, &request) != 0) return fail_errno("reading its MTU");
  return static_cast<std::size_t>(std::max(request.ifr_mtu, 0));
}

Result<> refuse_offloads(const std::string& name) {
  const auto control = control_socket();
  for (const unsigned what :
       {0U + ETHTOOL_STSO, 0U + ETHTOOL_SGSO, 0U + ETHTOOL_STXCSUM, 0U + ETHTOOL_SSG}) {
    ethtool_value off{what, 0};
    auto request = interface_request(name);
    // SAFETY: the kernel reads and writes the ethtool_value during the call only.
    request.ifr_data = reinterpret_cast<char*>(&off);
    if (::ioctl(control.get(), SIOCETHTOOL, &request) != 0) {
      return fail_errno("switching offloads off");
    }
  }
  return {};
}

}  // namespace understudy::netbuffer
