#include "netbuffer/isolated_network.hpp"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <cstring>

#include "config/network_interface.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/host_interface.hpp"

namespace understudy::netbuffer {
namespace {

constexpr unsigned prefix_min = 8;
constexpr unsigned prefix_max = 30;

std::uint32_t host_part(unsigned prefix) {
  return ~std::uint32_t{0} >> prefix;
}

sockaddr address_of(std::uint32_t address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(address);
  sockaddr result{};
  static_assert(sizeof in == sizeof result);
  std::memcpy(&result, &in, sizeof in);
  return result;
}

}  // namespace

std::string NetworkAddress::text() const {
  const in_addr in{htonl(address)};
  std::array<char, INET_ADDRSTRLEN> buffer{};
  return ::inet_ntop(AF_INET, &in, buffer.data(), buffer.size());
}

Result<NetworkAddress> parse_network_address(const std::string& text) {
  const auto slash = text.find('/');
  const auto* const end = text.data() + text.size();
  NetworkAddress result{};
  in_addr parsed{};
  const auto* const digits = slash == std::string::npos ? end : text.data() + slash + 1;
  const auto [last, error] = std::from_chars(digits, end, result.prefix);
  if (error != std::errc{} || last != end || result.prefix < prefix_min ||
      result.prefix > prefix_max ||
      ::inet_pton(AF_INET, text.substr(0, slash).c_str(), &parsed) != 1) {
    return fail(ErrorKind::invalid, "'{}' is no IPv4 address with its network; write 10.0.0.5/24",
                text);
  }
  result.address = ntohl(parsed.s_addr);
  const auto host = result.address & host_part(result.prefix);
  if (host == 0 || host == host_part(result.prefix)) {
    return fail(ErrorKind::invalid, "'{}' is the address of a network, not of a machine", text);
  }
  return result;
}

NetworkAddress neighbour_of(const NetworkAddress& one) {
  const auto highest = (one.address | host_part(one.prefix)) - 1;
  return {one.address == highest ? highest - 1 : highest, one.prefix};
}

Result<> enter_isolated_network() {
  if (::unshare(CLONE_NEWNET) != 0) {
    if (errno == EPERM) {
      return fail(ErrorKind::unavailable,
                  "a network of its own is not permitted; the daemon needs CAP_SYS_ADMIN");
    }
    return fail_errno("a network of its own");
  }
  return set_up("lo");
}

Result<> add_bridge(const std::string& name) {
  const auto control = control_socket();
  // SAFETY: reads a name.
  if (::ioctl(control.get(), SIOCBRADDBR, name.c_str()) != 0)
    return fail_errno(fmt::format("making bridge {}", name));
  silence_ipv6(name);
  return set_up(name);
}

Result<> add_address(const std::string& interface, const NetworkAddress& address) {
  const auto control = control_socket();
  auto request = interface_request(interface);
  // SAFETY: both read an ifreq.
  request.ifr_addr = address_of(address.address);
  if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0)
    return fail_errno(fmt::format("giving {} its address", interface));
  request.ifr_netmask = address_of(~host_part(address.prefix));
  if (::ioctl(control.get(), SIOCSIFNETMASK, &request) != 0)
    return fail_errno(fmt::format("giving {} its network", interface));
  return {};
}

}  // namespace understudy::netbuffer
