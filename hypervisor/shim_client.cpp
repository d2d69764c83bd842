#include "hypervisor/shim_client.hpp"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "config/limits.hpp"

namespace understudy::hypervisor {
namespace {

constexpr const char* library_name = "libunderstudy_shim.so";

Result<> ask(int socket, const std::string& question) {
  if (::send(socket, question.data(), question.size(), MSG_NOSIGNAL) < 0) {
    return fail_errno("asking the shim in QEMU");
  }
  return {};
}

}  // namespace

Result<ShimClient::Pair> ShimClient::create() {
  std::array<int, 2> sockets{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
    return fail_errno("socketpair");
  }
  const timeval patience{std::chrono::seconds{limits::monitor_reply}.count(), 0};
  ::setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return Pair{ShimClient{UniqueFd{sockets[0]}}, UniqueFd{sockets[1]}};
}

Result<UniqueFd> ShimClient::userfaultfd() const {
  UNDERSTUDY_CHECK(ask(socket_.get(), "uffd"));
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  unsigned char refusal{};
  iovec content{&refusal, 1};
  msghdr message{};
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const auto got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (got != 1) return fail(ErrorKind::unavailable, "the shim in QEMU does not answer");
  const cmsghdr* rights = CMSG_FIRSTHDR(&message);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS) {
    return fail_errno("userfaultfd in QEMU", refusal);
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
  return UniqueFd{fd};
}

Result<std::uint64_t> ShimClient::block_address(const std::string& name) const {
  UNDERSTUDY_CHECK(ask(socket_.get(), "block " + name));
  std::uint64_t address{};
  const auto got = ::recv(socket_.get(), &address, sizeof address, 0);
  if (got != sizeof address || address == 0) {
    return fail(ErrorKind::unavailable,
                "this QEMU does not tell where its RAM block {} lies; one built with modules "
                "(as the distributions do) or QEMU 8.1 or later is needed",
                name);
  }
  return address;
}

Result<std::string> ShimClient::library() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  auto path = self.parent_path() / library_name;
  if (error || !std::filesystem::exists(path)) {
    return fail(ErrorKind::unavailable, "{} is missing beside {}; install both", library_name,
                self.string());
  }
  return path.string();
}

}  // namespace understudy::hypervisor
