#include "netbuffer/tap_uplink.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "config/unique_fd.hpp"

namespace understudy::netbuffer {
namespace {

class TapUplink : public Uplink {
 public:
  explicit TapUplink(UniqueFd tap) : tap_{std::move(tap)} {}

  Result<> send(std::span<const std::byte> frame) override {
    if (::write(tap_.get(), frame.data(), frame.size()) < 0) return fail_errno("tap");
    return {};
  }

  [[nodiscard]] int fd() const override { return tap_.get(); }

  Result<std::optional<std::size_t>> receive(std::span<std::byte> space) override {
    const auto got = ::read(tap_.get(), space.data(), space.size());
    if (got > 0) return static_cast<std::size_t>(got);
    if (got < 0 && errno != EAGAIN && errno != EINTR) return fail_errno("tap");
    return std::nullopt;
  }

 private:
  UniqueFd tap_;
};

ifreq request_for(const std::string& interface) {
  ifreq request{};
  std::copy_n(interface.begin(), std::min(interface.size(), std::size_t{IFNAMSIZ - 1}),
              std::begin(request.ifr_name));
  return request;
}

/// Locally administered and as high as can be: a bridge takes the lowest MAC of its ports.
MacAddress own_mac(MacAddress guest) {
  guest.octets[0] = guest.octets[0] == 0xfe ? 0xf2 : 0xfe;
  return guest;
}

Result<UniqueFd> create(const std::string& name) {
  UniqueFd tap{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
  if (!tap) return fail_errno("/dev/net/tun");
  auto request = request_for(name);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL);
  // SAFETY: TUNSETIFF reads and writes an ifreq, TUNSETOFFLOAD takes its argument by value.
  if (::ioctl(tap.get(), TUNSETIFF, &request) != 0) {
    if (errno == EBUSY || errno == EINVAL) {
      return fail(ErrorKind::conflict, "an interface of this name is already there");
    }
    if (errno == EPERM) {
      return fail(ErrorKind::io, "not permitted; the daemon needs CAP_NET_ADMIN");
    }
    return fail_errno("making it");
  }
  if (::ioctl(tap.get(), TUNSETOFFLOAD, 0UL) != 0) return fail_errno("switching offloads off");
  return tap;
}

Result<> set_mac(int control, const std::string& name, const MacAddress& mac) {
  auto request = request_for(name);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::transform(mac.octets.begin(), mac.octets.end(), std::begin(request.ifr_hwaddr.sa_data),
                 [](std::uint8_t octet) { return static_cast<char>(octet); });
  // SAFETY: reads an ifreq.
  if (::ioctl(control, SIOCSIFHWADDR, &request) != 0) return fail_errno("setting its MAC address");
  return {};
}

Result<> join(int control, const std::string& name, const std::string& bridge) {
  auto request = request_for(bridge);
  request.ifr_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
  // SAFETY: reads an ifreq.
  if (::ioctl(control, SIOCBRADDIF, &request) == 0) return {};
  if (errno == EOPNOTSUPP || errno == EINVAL) {
    return fail(ErrorKind::invalid, "{} is not a bridge; correct guest.nic.bridge", bridge);
  }
  return fail_errno(fmt::format("joining bridge {}", bridge));
}

Result<> set_up(int control, const std::string& name) {
  auto request = request_for(name);
  // SAFETY: both read and write an ifreq.
  if (::ioctl(control, SIOCGIFFLAGS, &request) != 0) return fail_errno("reading its flags");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(control, SIOCSIFFLAGS, &request) != 0) return fail_errno("setting it up");
  return {};
}

/// The host must not speak IPv6 on the guest's wire; without IPv6 there is nothing to switch off.
void silence_ipv6(const std::string& name) {
  const auto path = fmt::format("/proc/sys/net/ipv6/conf/{}/disable_ipv6", name);
  const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (file) [[maybe_unused]]
    const auto told = ::write(file.get(), "1", 1);
}

Result<UniqueFd> open_on_bridge(const std::string& name, const std::string& bridge,
                                const MacAddress& mac) {
  UNDERSTUDY_TRY(auto tap, create(name));
  const UniqueFd control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!control) return fail_errno("socket");
  UNDERSTUDY_CHECK(set_mac(control.get(), name, own_mac(mac)));
  silence_ipv6(name);
  UNDERSTUDY_CHECK(join(control.get(), name, bridge));
  UNDERSTUDY_CHECK(set_up(control.get(), name));
  return tap;
}

std::uint32_t fnv1a(std::string_view text) {
  std::uint32_t hash = 2'166'136'261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619U;
  return hash;
}

}  // namespace

std::string tap_name(std::string_view guest, std::size_t nic) {
  auto name = fmt::format("us-{}-{}", guest, nic);
  if (name.size() < IFNAMSIZ) return name;
  return fmt::format("us{}{:08x}-{}", guest.substr(0, 3), fnv1a(guest), nic);
}

Result<std::unique_ptr<Uplink>> open_tap(const std::string& name, const std::string& bridge,
                                         const MacAddress& mac) {
  if (name.empty() || name.size() >= IFNAMSIZ) {
    return fail(ErrorKind::invalid, "'{}' cannot be an interface's name", name);
  }
  if (bridge.size() >= IFNAMSIZ || ::if_nametoindex(bridge.c_str()) == 0) {
    return fail(ErrorKind::unavailable,
                "bridge {} does not exist on this host; create it or correct guest.nic.bridge",
                bridge);
  }
  auto tap = open_on_bridge(name, bridge, mac);
  if (!tap) return fail(std::move(tap).error().within(fmt::format("tap {}", name)));
  return std::make_unique<TapUplink>(*std::move(tap));
}

}  // namespace understudy::netbuffer
