// What comes for a guest while it moves to another host.
//
// A frame that reaches the old host after the guest was paused for good would be lost, and its
// sender would wait for its own time-out, which is longer than the move. So such frames are kept,
// and sent after the guest once the network knows where it is. They then bear a source address of
// ours: with the sender's, switches would look for the sender here.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "netbuffer/mac_address.hpp"
#include "netbuffer/uplink.hpp"

namespace understudy::netbuffer {

/// Around one NIC's uplink. Any thread; a verb waits for the frame that is under way, no longer.
class Detour {
 public:
  Detour(std::unique_ptr<Uplink> uplink, const MacAddress& guest);

  /// Frames for the guest alone are kept from now on, at most limits::detour_frames; what comes for
  /// everybody is lost.
  void keep();
  /// The guest stays here: it gets them, with the next one that comes.
  void give_back();
  /// The guest runs elsewhere: they go there, and so do those that still come. Nothing if none were
  /// to be kept.
  void send_after();

  /// What the guest's NIC uses as its uplink.
  [[nodiscard]] static std::unique_ptr<Uplink> uplink(std::shared_ptr<Detour> detour);

 private:
  enum class State : std::uint8_t { straight, keeping, sending_after };
  class Way;
  [[nodiscard]] Result<std::optional<std::size_t>> receive(std::span<std::byte> space);
  [[nodiscard]] bool for_guest(std::span<const std::byte> frame) const;
  void forward(std::span<std::byte> frame);

  std::mutex mutex_;
  const std::unique_ptr<Uplink> uplink_;
  const MacAddress guest_;
  State state_{State::straight};
  std::deque<std::vector<std::byte>> kept_;
};

}  // namespace understudy::netbuffer
