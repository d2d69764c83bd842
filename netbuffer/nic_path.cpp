#include "netbuffer/nic_path.hpp"

#include <sys/epoll.h>

#include <utility>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "netbuffer/announcement.hpp"

namespace understudy::netbuffer {

NicPath::NicPath(std::unique_ptr<GuestPort> guest, const MacAddress& mac,
                 std::unique_ptr<Uplink> uplink, std::size_t hold_bytes)
    : guest_{std::move(guest)},
      mac_{mac},
      uplink_{std::move(uplink)},
      queue_{hold_bytes},
      ingress_{std::make_unique_for_overwrite<std::byte[]>(limits::packet_bytes)} {}

void NicPath::take_egress(GateState gate, Amount amount, TimePoint when) {
  deliver_taken(gate, when);
  while (amount != Amount::none && !stalled_ && !gone_ && read_more()) {
    deliver_taken(gate, when);
    if (amount == Amount::one_read) return;
  }
}

/// Whether something was read.
bool NicPath::read_more() {
  const auto got = guest_->read();
  if (!got) gone_ = got.error();
  return got && *got;
}

void NicPath::hung_up() {
  if (stalled_ && !gone_) gone_ = Error{ErrorKind::closed, "QEMU has closed its end"};
}

void NicPath::deliver_taken(GateState gate, TimePoint when) {
  while (true) {
    const auto frame = guest_->front();
    if (!frame && !gone_) gone_ = frame.error();
    if (!frame || !*frame) break;
    if (!deliver(gate, **frame, when)) {
      if (!stalled_) ++counters_.full;
      stalled_ = true;
      return;
    }
    guest_->pop();
  }
  stalled_ = false;
}

/// Whether the frame is dealt with; if not, there is no room for it now.
bool NicPath::deliver(GateState gate, std::span<const std::byte> frame, TimePoint when) {
  if (frame.empty()) return true;  // a guest that sends nothing harms nobody
  if (gate == GateState::holding) return queue_.push(frame, when);
  // Behind those that were held and have not found room yet.
  if (gate == GateState::open) return queue_.packets() == 0 && send(frame);
  ++counters_.egress_dropped;
  return true;
}

/// False: the uplink has no room now.
bool NicPath::send(std::span<const std::byte> frame) {
  const auto sent = uplink_->send(frame);
  uplink_full_ = !sent && sent.error().kind == ErrorKind::limit;
  if (uplink_full_) return false;
  ++(sent ? counters_.released_packets : counters_.egress_dropped);
  return true;
}

void NicPath::send_released(TimePoint when, HoldTimes& times) {
  while (const auto packet = queue_.front()) {
    if (!send(packet->frame)) return;
    times.add(when - packet->since);
    queue_.pop();
  }
}

void NicPath::drop_held() {
  counters_.egress_dropped += queue_.drop();
  again_.clear();
  uplink_full_ = false;
}

void NicPath::announce() {
  const auto frame = announcement(mac_);
  if (auto sent = uplink_->send(frame); !sent) {
    log::warning("netbuffer.announcement_lost",
                 {log::kv("mac", mac_.text()), log::kv("error", sent.error().message)});
  }
}

void NicPath::take_ingress(GateState gate) {
  for (std::size_t i = 0; i < limits::ingress_batch && !uplink_lost_ && !ingress_waits(gate); ++i) {
    const auto got = uplink_->receive({ingress_.get(), limits::packet_bytes});
    if (!got) {
      uplink_lost_ = true;
      log::error("netbuffer.uplink_lost",
                 {log::kv("mac", mac_.text()), log::kv("error", got.error().message)});
      return;
    }
    if (!*got) return;
    if (gate == GateState::holding && pressed()) {
      ++counters_.ingress_cut;  // what it would answer finds no room
    } else {
      give(gate, {ingress_.get(), **got});
    }
  }
}

void NicPath::give(GateState gate, std::span<const std::byte> frame) {
  if (gate == GateState::closed || gone_ || !guest_->give(frame)) {
    ++counters_.ingress_dropped;
    return;
  }
  ++counters_.ingress_packets;
  if (gate != GateState::holding || copied_bytes_ + frame.size() > limits::input_copy_bytes) return;
  copied_bytes_ += frame.size();
  copies_.emplace_back(frame.begin(), frame.end());
}

void NicPath::give_again(GateState gate, std::span<const std::byte> frame) {
  again_.emplace_back(frame.begin(), frame.end());
  give_waiting(gate);
}

/// A NIC may need a moment after its machine has begun to run.
void NicPath::give_waiting(GateState gate) {
  while (!again_.empty() && gate != GateState::closed && !gone_ && guest_->takes() &&
         !guest_->unfinished()) {
    give(gate, again_.front());
    again_.pop_front();
  }
}

std::vector<std::vector<std::byte>> NicPath::take_copies() {
  return std::exchange(copies_, {});
}

void NicPath::seal(Epoch epoch) {
  queue_.seal(epoch);
  copied_bytes_ = 0;
}

void NicPath::finish_ingress(GateState gate) {
  if (gate != GateState::closed && guest_->unfinished()) guest_->finish();
}

std::optional<std::uint32_t> NicPath::guest_interest(GateState gate) const {
  if (gone_) return std::nullopt;
  std::uint32_t interest = stalled_ ? 0U : static_cast<std::uint32_t>(EPOLLIN);
  if (guest_->unfinished() && gate != GateState::closed) interest |= EPOLLOUT;
  return interest;
}

bool NicPath::ingress_waits(GateState gate) const {
  return gate != GateState::closed && !gone_ && !guest_->takes();
}

std::optional<std::uint32_t> NicPath::uplink_interest(GateState gate) const {
  if (uplink_lost_ || ingress_waits(gate)) return std::nullopt;
  return EPOLLIN;
}

}  // namespace understudy::netbuffer
