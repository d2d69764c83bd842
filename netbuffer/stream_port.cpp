#include "netbuffer/stream_port.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <vector>

#include "config/limits.hpp"
#include "netbuffer/packet_stream.hpp"

namespace understudy::netbuffer {
namespace {

/// Buffers larger than net.core.wmem_max need CAP_NET_ADMIN; smaller ones still work.
void enlarge_buffers(int fd) {
  const int size = limits::nic_socket_bytes;
  for (const auto& [forced, asked] :
       {std::pair{SO_SNDBUFFORCE, SO_SNDBUF}, std::pair{SO_RCVBUFFORCE, SO_RCVBUF}}) {
    if (::setsockopt(fd, SOL_SOCKET, forced, &size, sizeof size) != 0) {
      ::setsockopt(fd, SOL_SOCKET, asked, &size, sizeof size);
    }
  }
}

class StreamPort final : public GuestPort {
 public:
  explicit StreamPort(UniqueFd socket) : socket_{std::move(socket)} {
    unfinished_.reserve(packet_header_bytes + limits::packet_bytes);
  }

  [[nodiscard]] int fd() const override { return socket_.get(); }

  [[nodiscard]] Result<bool> read() override {
    const auto space = decoder_.space();
    const auto got = ::recv(socket_.get(), space.data(), space.size(), MSG_DONTWAIT);
    if (got == 0) return fail(ErrorKind::closed, "QEMU has closed its end");
    if (got < 0 && errno != EAGAIN && errno != EINTR) return fail_errno("QEMU's socket");
    if (got > 0) decoder_.filled(static_cast<std::size_t>(got));
    return got > 0;
  }

  [[nodiscard]] Result<std::optional<std::span<const std::byte>>> front() const override {
    return decoder_.front();
  }
  void pop() override { decoder_.pop(); }

  [[nodiscard]] bool takes() const override { return true; }
  [[nodiscard]] bool give(std::span<const std::byte> frame) override;

  [[nodiscard]] bool unfinished() const override { return !unfinished_.empty(); }
  void finish() override {
    const auto sent =
        ::send(socket_.get(), unfinished_.data(), unfinished_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) unfinished_.erase(unfinished_.begin(), unfinished_.begin() + sent);
  }

 private:
  UniqueFd socket_;
  PacketDecoder decoder_;
  std::vector<std::byte> unfinished_;  // the end of a frame that the guest has in part
};

bool StreamPort::give(std::span<const std::byte> frame) {
  if (unfinished()) return false;
  auto header = packet_header(frame.size());
  std::array<iovec, 2> parts{
      iovec{header.data(), header.size()},
      // SAFETY: sendmsg only reads it.
      iovec{const_cast<std::byte*>(frame.data()), frame.size()},
  };
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const auto sent = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent <= 0) return false;
  // What the guest has in part it must get to the end, or it loses the frames' boundaries.
  auto done = static_cast<std::size_t>(sent);
  for (const auto part : {std::span<const std::byte>{header}, frame}) {
    const auto skip = std::min(done, part.size());
    unfinished_.insert(unfinished_.end(), part.begin() + static_cast<std::ptrdiff_t>(skip),
                       part.end());
    done -= skip;
  }
  return true;
}

}  // namespace

Result<std::pair<std::unique_ptr<GuestPort>, UniqueFd>> connect_nic() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return fail_errno("socketpair for a guest's NIC");
  }
  UniqueFd ours{fds[0]};
  UniqueFd theirs{fds[1]};
  enlarge_buffers(ours.get());
  enlarge_buffers(theirs.get());
  return std::pair{std::make_unique<StreamPort>(std::move(ours)), std::move(theirs)};
}

}  // namespace understudy::netbuffer
