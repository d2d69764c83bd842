#include "netbuffer/tap_uplink.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "config/network_interface.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/host_interface.hpp"

namespace understudy::netbuffer {
namespace {

class TapUplink : public Uplink {
 public:
  explicit TapUplink(UniqueFd tap) : tap_{std::move(tap)} {}

  Result<> send(std::span<const std::byte> frame) override {
    if (::write(tap_.get(), frame.data(), frame.size()) >= 0) return {};
    if (errno == EAGAIN || errno == ENOBUFS) return fail(ErrorKind::limit, "tap: no room");
    return fail_errno("tap");
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

Result<UniqueFd> create(const std::string& name) {
  UniqueFd tap{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
  if (!tap) return fail_errno("/dev/net/tun");
  auto request = interface_request(name);
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

Result<UniqueFd> make_tap(const std::string& name, const std::string& bridge,
                          const MacAddress& mac) {
  UNDERSTUDY_TRY(auto tap, create(name));
  UNDERSTUDY_CHECK(join_bridge(name, bridge, wire_mac(mac)));
  return tap;
}

}  // namespace

Result<std::unique_ptr<Uplink>> open_tap(const std::string& name, const std::string& bridge,
                                         const MacAddress& mac) {
  UNDERSTUDY_CHECK(check_uplink(name, bridge));
  auto tap = make_tap(name, bridge, mac);
  if (!tap) return fail(std::move(tap).error().within(fmt::format("tap {}", name)));
  return std::make_unique<TapUplink>(*std::move(tap));
}

}  // namespace understudy::netbuffer
