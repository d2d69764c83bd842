#include "failover/control_client.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "config/limits.hpp"
#include "failover/control_framing.hpp"
#include "failover/control_socket.hpp"

namespace understudy::failover {
namespace {

Result<> await(int fd, short events, TimePoint deadline) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - now()).count();
    pollfd waiting{fd, events, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (ready > 0) return {};
    if (ready == 0) return fail(ErrorKind::timed_out, "understudyd does not answer");
    if (errno != EINTR) return fail_errno("waiting for understudyd");
  }
}

tl::unexpected<Error> gone() {
  return fail(ErrorKind::closed, "understudyd closed the connection without an answer");
}

Result<> send_all(int fd, std::string_view bytes) {
  const auto deadline = now() + limits::control_exchange;
  while (!bytes.empty()) {
    UNDERSTUDY_CHECK(await(fd, POLLOUT, deadline));
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // A daemon that refuses us answers before it reads.
    if (sent < 0) return {};
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

class Replies {
 public:
  explicit Replies(int fd) : fd_{fd} {}

  Result<control::Reply> next() {
    const auto deadline = now() + limits::control_reply;
    while (true) {
      UNDERSTUDY_TRY(const auto body, decoder_.next());
      if (body) return parse_control<control::Reply>(*body);
      UNDERSTUDY_CHECK(fill(deadline));
    }
  }

 private:
  Result<> fill(TimePoint deadline) {
    UNDERSTUDY_CHECK(await(fd_, POLLIN, deadline));
    std::array<char, 16384> chunk;
    const auto got = ::recv(fd_, chunk.data(), chunk.size(), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return {};
    if (got <= 0) return gone();
    decoder_.append({chunk.data(), static_cast<std::size_t>(got)});
    return {};
  }

  int fd_;
  ControlDecoder decoder_{limits::control_reply_bytes};
};

}  // namespace

Result<control::Reply> ControlClient::call(const std::string& path, const control::Request& request,
                                           const OnProgress& on_progress) {
  UNDERSTUDY_TRY(const auto frame, encode_control(request, limits::control_request_bytes));
  UNDERSTUDY_TRY(const auto fd, connect_control(path));
  UNDERSTUDY_CHECK(send_all(fd.get(), frame));
  Replies replies{fd.get()};
  while (true) {
    UNDERSTUDY_TRY(auto reply, replies.next());
    if (reply.what_case() == control::Reply::WHAT_NOT_SET) {
      return fail(ErrorKind::protocol, "understudyd answered with a message that says nothing");
    }
    if (!reply.has_progress()) return reply;
    if (on_progress) on_progress(reply.progress());
  }
}

}  // namespace understudy::failover
