// The port to a network of the host: where a guest NIC's frames go and come from.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "config/result.hpp"

namespace understudy::netbuffer {

/// Frames are plain Ethernet, 1 to limits::packet_bytes, without checksum at the end. Never
/// blocks. Used by one thread at a time.
class Uplink {
 public:
  virtual ~Uplink() = default;

  /// An error of kind `limit`: there is no room now; the same frame should be tried again a little
  /// later. Any other: the network does not take this frame (interface down, frame too short); drop
  /// it and go on with the next.
  [[nodiscard]] virtual Result<> send(std::span<const std::byte> frame) = 0;

  /// Readable when a frame waits.
  [[nodiscard]] virtual int fd() const = 0;

  /// The size of the frame that was put into `space`, which has limits::packet_bytes; nothing when
  /// none waits. An error is for ever: the uplink is gone.
  [[nodiscard]] virtual Result<std::optional<std::size_t>> receive(std::span<std::byte> space) = 0;
};

}  // namespace understudy::netbuffer
