// The port to a guest's NIC: where the guest's frames come from and go to.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "config/result.hpp"

namespace understudy::netbuffer {

/// Frames are plain Ethernet, up to limits::packet_bytes. Never blocks. Used by one thread at a
/// time.
class GuestPort {
 public:
  virtual ~GuestPort() = default;

  /// To be polled for reading, level-triggered: then `read` has something to do.
  [[nodiscard]] virtual int fd() const = 0;

  /// Takes in more of what the guest has sent, up to some limit, and does what else is due. False:
  /// nothing has come, and `fd()` will tell. An error is for ever: nothing more will come.
  [[nodiscard]] virtual Result<bool> read() = 0;

  /// The oldest frame that was taken in; it may be empty, for guests send such. An error is for
  /// ever.
  [[nodiscard]] virtual Result<std::optional<std::span<const std::byte>>> front() const = 0;
  /// Takes away what `front` has shown.
  virtual void pop() = 0;

  /// Whether `give` makes sense now. If not, frames had better wait where they are, and `fd()` will
  /// tell.
  [[nodiscard]] virtual bool takes() const = 0;
  /// Gives a frame (not empty) to the guest. False: it did not take it, and will not.
  [[nodiscard]] virtual bool give(std::span<const std::byte> frame) = 0;

  /// Whether a frame is given in part only: then poll `fd()` for writing, too, and `finish`.
  [[nodiscard]] virtual bool unfinished() const { return false; }
  virtual void finish() {}
};

}  // namespace understudy::netbuffer
