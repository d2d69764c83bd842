#include "config/link_watch.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>

#include "config/network_interface.hpp"

namespace understudy {

Result<LinkWatch> LinkWatch::open(const std::string& interface) {
  LinkWatch watch;
  watch.interface_ = interface;
  watch.control_ = control_socket();
  watch.news_ =
      UniqueFd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)};
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  // SAFETY: bind reads a sockaddr_nl through the general type.
  if (!watch.control_ || !watch.news_ ||
      ::bind(watch.news_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno(fmt::format("watching interface {}", interface));
  }
  return watch;
}

// What the news are does not matter, nor that some were lost: `carries` asks for the truth.
void LinkWatch::drain() {
  std::array<std::byte, 8192> news;
  while (::recv(news_.get(), news.data(), news.size(), 0) >= 0 || errno == ENOBUFS) {
  }
}

std::optional<int> LinkWatch::flags() const {
  auto request = interface_request(interface_);
  // SAFETY: reads and writes an ifreq.
  if (::ioctl(control_.get(), SIOCGIFFLAGS, &request) != 0) return std::nullopt;
  return request.ifr_flags;
}

bool LinkWatch::carries() const {
  const int set = flags().value_or(0);
  return (set & IFF_UP) != 0 && (set & IFF_RUNNING) != 0;
}

}  // namespace understudy
