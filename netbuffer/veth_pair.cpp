#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <vector>

#include "netbuffer/host_interface.hpp"

namespace understudy::netbuffer {
namespace {

/// A netlink message under construction.
class Message {
 public:
  Message(std::uint16_t type, std::uint16_t flags) {
    append(nlmsghdr{.nlmsg_len = 0,
                    .nlmsg_type = type,
                    .nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags),
                    .nlmsg_seq = 1,
                    .nlmsg_pid = 0});
  }

  template <class T>
  void append(const T& value) {
    static_assert(sizeof value % NLMSG_ALIGNTO == 0);
    const auto at = bytes_.size();
    bytes_.resize(at + sizeof value);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }
  void attribute(std::uint16_t type, const void* data, std::size_t size) {
    const auto at = begin(type);
    const auto from = bytes_.size();
    bytes_.resize(from + size);
    std::memcpy(bytes_.data() + from, data, size);
    end(at);
  }
  void attribute(std::uint16_t type, std::uint32_t value) { attribute(type, &value, sizeof value); }
  void attribute(std::uint16_t type, const std::string& text) {
    attribute(type, text.c_str(), text.size() + 1);
  }
  /// What is added until `end` is inside it.
  [[nodiscard]] std::size_t begin(std::uint16_t type) {
    const auto at = bytes_.size();
    append(rtattr{.rta_len = 0, .rta_type = type});
    return at;
  }
  void end(std::size_t at) {
    const auto size = static_cast<std::uint16_t>(bytes_.size() - at);
    std::memcpy(bytes_.data() + at + offsetof(rtattr, rta_len), &size, sizeof size);
    bytes_.resize(RTA_ALIGN(bytes_.size()));
  }
  /// Zero, or the error's number.
  [[nodiscard]] int ask(int kernel) {
    const auto size = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &size, sizeof size);
    if (::send(kernel, bytes_.data(), bytes_.size(), 0) < 0) return errno;
    std::array<std::byte, 8192> reply{};
    const auto got = ::recv(kernel, reply.data(), reply.size(), 0);
    if (got < static_cast<ssize_t>(NLMSG_HDRLEN + sizeof(nlmsgerr))) return EPROTO;
    nlmsgerr verdict{};
    std::memcpy(&verdict, reply.data() + NLMSG_HDRLEN, sizeof verdict);
    return -verdict.error;
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace

Result<VethPair> VethPair::make(const std::string& name, std::size_t mtu,
                                const std::string& other_name, int other_namespace) {
  UniqueFd kernel{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
  if (!kernel) return fail_errno("rtnetlink");
  Message message{RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL};
  message.append(ifinfomsg{});
  message.attribute(IFLA_IFNAME, name);
  message.attribute(IFLA_MTU, static_cast<std::uint32_t>(mtu));
  message.attribute(IFLA_GSO_MAX_SEGS, 1U);  // whatever kind of super-frame: it is cut before
  const auto information = message.begin(IFLA_LINKINFO);
  message.attribute(IFLA_INFO_KIND, std::string{"veth"});
  const auto data = message.begin(IFLA_INFO_DATA);
  const auto peer = message.begin(VETH_INFO_PEER);
  message.append(ifinfomsg{});
  message.attribute(IFLA_IFNAME, other_name);
  message.attribute(IFLA_MTU, static_cast<std::uint32_t>(mtu));
  message.attribute(IFLA_NET_NS_FD, static_cast<std::uint32_t>(other_namespace));
  message.end(peer);
  message.end(data);
  message.end(information);
  if (const int code = message.ask(kernel.get()); code != 0) {
    if (code == EEXIST) {
      return fail(ErrorKind::conflict, "an interface of this name is already there");
    }
    if (code == EPERM) {
      return fail(ErrorKind::io, "not permitted; the daemon needs CAP_NET_ADMIN");
    }
    return fail_errno("making it", code);
  }
  return VethPair{std::move(kernel), ::if_nametoindex(name.c_str())};
}

VethPair::~VethPair() {
  if (!kernel_) return;
  Message message{RTM_DELLINK, 0};
  ifinfomsg which{};
  which.ifi_index = static_cast<int>(index_);
  message.append(which);
  static_cast<void>(message.ask(kernel_.get()));  // it may have gone with the other one
}

}  // namespace understudy::netbuffer
