#include "netbuffer/nic_path.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "netbuffer/announcement.hpp"

namespace understudy::netbuffer {

NicPath::NicPath(UniqueFd guest, const MacAddress& mac, std::unique_ptr<Uplink> uplink,
                 std::size_t hold_bytes)
    : guest_{std::move(guest)},
      mac_{mac},
      uplink_{std::move(uplink)},
      queue_{hold_bytes},
      ingress_{std::make_unique_for_overwrite<std::byte[]>(limits::packet_bytes)} {
  unfinished_.reserve(packet_header_bytes + limits::packet_bytes);
}

void NicPath::take_egress(GateState gate, Amount amount, TimePoint when) {
  deliver_decoded(gate, when);
  while (amount != Amount::none && !stalled_ && !gone_ && read_more()) {
    deliver_decoded(gate, when);
    if (amount == Amount::one_read) return;
  }
}

/// Whether something was read.
bool NicPath::read_more() {
  const auto space = decoder_.space();
  const auto got = ::recv(guest_.get(), space.data(), space.size(), MSG_DONTWAIT);
  if (got > 0) {
    decoder_.filled(static_cast<std::size_t>(got));
    return true;
  }
  if (got == 0) gone_ = Error{ErrorKind::closed, "QEMU has closed its end"};
  if (got < 0 && errno != EAGAIN && errno != EINTR) gone_ = fail_errno("QEMU's socket").value();
  return false;
}

void NicPath::hung_up() {
  if (stalled_ && !gone_) gone_ = Error{ErrorKind::closed, "QEMU has closed its end"};
}

void NicPath::deliver_decoded(GateState gate, TimePoint when) {
  while (true) {
    const auto frame = decoder_.front();
    if (!frame && !gone_) gone_ = frame.error();
    if (!frame || !*frame) break;
    if (!deliver(gate, **frame, when)) {
      if (!stalled_) ++counters_.full;
      stalled_ = true;
      return;
    }
    decoder_.pop();
  }
  stalled_ = false;
}

/// Whether the frame is dealt with; if not, there is no room for it now.
bool NicPath::deliver(GateState gate, std::span<const std::byte> frame, TimePoint when) {
  if (frame.empty()) return true;  // a guest that sends nothing harms nobody
  if (gate == GateState::holding) return queue_.push(frame, when);
  if (gate == GateState::open) {
    send(frame);
  } else {
    ++counters_.egress_dropped;
  }
  return true;
}

void NicPath::send(std::span<const std::byte> frame) {
  if (uplink_->send(frame)) {
    ++counters_.released_packets;
  } else {
    ++counters_.egress_dropped;
  }
}

void NicPath::send_released(TimePoint when, HoldTimes& times) {
  while (const auto packet = queue_.front()) {
    send(packet->frame);
    times.add(when - packet->since);
    queue_.pop();
  }
}

void NicPath::drop_held() {
  counters_.egress_dropped += queue_.drop();
}

void NicPath::announce() {
  const auto frame = announcement(mac_);
  if (auto sent = uplink_->send(frame); !sent) {
    log::warning("netbuffer.announcement_lost",
                 {log::kv("mac", mac_.text()), log::kv("error", sent.error().message)});
  }
}

void NicPath::take_ingress(GateState gate) {
  for (std::size_t i = 0; i < limits::ingress_batch && !uplink_lost_; ++i) {
    const auto got = uplink_->receive({ingress_.get(), limits::packet_bytes});
    if (!got) {
      uplink_lost_ = true;
      log::error("netbuffer.uplink_lost",
                 {log::kv("mac", mac_.text()), log::kv("error", got.error().message)});
      return;
    }
    if (!*got) return;
    if (gate == GateState::closed || gone_ || !unfinished_.empty()) {
      ++counters_.ingress_dropped;
    } else {
      give({ingress_.get(), **got});
    }
  }
}

void NicPath::give(std::span<const std::byte> frame) {
  auto header = packet_header(frame.size());
  std::array<iovec, 2> parts{
      iovec{header.data(), header.size()},
      iovec{ingress_.get(), frame.size()},
  };
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const auto sent = ::sendmsg(guest_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent <= 0) {
    ++counters_.ingress_dropped;
    return;
  }
  ++counters_.ingress_packets;
  // What the guest has in part it must get to the end, or it loses the frames' boundaries.
  auto done = static_cast<std::size_t>(sent);
  for (const auto part : {std::span<const std::byte>{header}, frame}) {
    const auto skip = std::min(done, part.size());
    unfinished_.insert(unfinished_.end(), part.begin() + static_cast<std::ptrdiff_t>(skip),
                       part.end());
    done -= skip;
  }
}

void NicPath::finish_ingress(GateState gate) {
  if (gate == GateState::closed || unfinished_.empty()) return;
  const auto sent =
      ::send(guest_.get(), unfinished_.data(), unfinished_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0) unfinished_.erase(unfinished_.begin(), unfinished_.begin() + sent);
}

std::optional<std::uint32_t> NicPath::guest_interest(GateState gate) const {
  if (gone_) return std::nullopt;
  std::uint32_t interest = stalled_ ? 0U : static_cast<std::uint32_t>(EPOLLIN);
  if (!unfinished_.empty() && gate != GateState::closed) interest |= EPOLLOUT;
  return interest;
}

std::optional<std::uint32_t> NicPath::uplink_interest() const {
  if (uplink_lost_) return std::nullopt;
  return EPOLLIN;
}

}  // namespace understudy::netbuffer
