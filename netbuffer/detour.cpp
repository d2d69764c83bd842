#include "netbuffer/detour.hpp"

#include <algorithm>

#include "config/limits.hpp"

namespace understudy::netbuffer {
namespace {

constexpr std::size_t address_bytes = 6;
constexpr std::byte other_station{0x04};  // of the first octet; neither the group nor the local bit

}  // namespace

class Detour::Way final : public Uplink {
 public:
  explicit Way(std::shared_ptr<Detour> detour) : detour_{std::move(detour)} {}

  Result<> send(std::span<const std::byte> frame) override {
    const std::lock_guard lock{detour_->mutex_};
    return detour_->uplink_->send(frame);
  }
  int fd() const override { return detour_->uplink_->fd(); }
  Result<std::optional<std::size_t>> receive(std::span<std::byte> space) override {
    const std::lock_guard lock{detour_->mutex_};
    return detour_->receive(space);
  }

 private:
  const std::shared_ptr<Detour> detour_;
};

Detour::Detour(std::unique_ptr<Uplink> uplink, const MacAddress& guest)
    : uplink_{std::move(uplink)}, guest_{guest} {}

std::unique_ptr<Uplink> Detour::uplink(std::shared_ptr<Detour> detour) {
  return std::make_unique<Way>(std::move(detour));
}

void Detour::keep() {
  const std::lock_guard lock{mutex_};
  state_ = State::keeping;
}

void Detour::give_back() {
  const std::lock_guard lock{mutex_};
  state_ = State::straight;
}

void Detour::send_after() {
  const std::lock_guard lock{mutex_};
  if (state_ != State::keeping) return;
  state_ = State::sending_after;
  for (auto& frame : kept_) forward(frame);
  kept_.clear();
}

bool Detour::for_guest(std::span<const std::byte> frame) const {
  return frame.size() >= 2 * address_bytes &&
         std::equal(guest_.octets.begin(), guest_.octets.end(), frame.begin(),
                    [](std::uint8_t octet, std::byte byte) { return std::byte{octet} == byte; });
}

/// A frame that the network does not take is one that it has lost.
void Detour::forward(std::span<std::byte> frame) {
  std::transform(guest_.octets.begin(), guest_.octets.end(),
                 frame.begin() + static_cast<std::ptrdiff_t>(address_bytes),
                 [](std::uint8_t octet) { return std::byte{octet}; });
  frame[address_bytes] ^= other_station;
  static_cast<void>(uplink_->send(frame));
}

Result<std::optional<std::size_t>> Detour::receive(std::span<std::byte> space) {
  if (state_ == State::straight && !kept_.empty()) {
    const auto size = kept_.front().size();
    std::copy_n(kept_.front().begin(), size, space.begin());
    kept_.pop_front();
    return size;
  }
  while (true) {
    const auto got = uplink_->receive(space);
    if (state_ == State::straight || !got || !*got) return got;
    const auto frame = space.first(**got);
    if (!for_guest(frame)) continue;
    if (state_ == State::sending_after) {
      forward(frame);
    } else if (kept_.size() < limits::detour_frames) {
      kept_.emplace_back(frame.begin(), frame.end());
    }
  }
}

}  // namespace understudy::netbuffer
