// How QEMU's `-netdev stream` puts Ethernet frames on a stream socket. Pure.
//
//     u32 big-endian: length | the frame: length bytes | u32 ...
//
// Plain Ethernet: no virtio-net header, no checksum or segmentation left to do. Source:
// net/stream.c and net_fill_rstate in net/net.c of QEMU 7.2.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "config/result.hpp"

namespace understudy::netbuffer {

inline constexpr std::size_t packet_header_bytes = 4;

/// What goes on the stream before a frame of `size` bytes, 1 to limits::packet_bytes.
[[nodiscard]] std::array<std::byte, packet_header_bytes> packet_header(std::size_t size);

/// Finds the frames in a stream that arrives in pieces of any size. Allocates once, and does not
/// copy a frame unless it arrives in two pieces.
class PacketDecoder {
 public:
  PacketDecoder();

  /// Where the next bytes of the stream go. Never empty after `front` has said that none is there.
  /// Spans of `front` end here.
  [[nodiscard]] std::span<std::byte> space();
  /// The first `size` bytes of `space` have been written.
  void filled(std::size_t size);

  /// The oldest whole frame, if there is one; it may be empty, for a guest can make QEMU send such.
  /// An error is for ever: the boundaries are lost.
  [[nodiscard]] Result<std::optional<std::span<const std::byte>>> front() const;
  /// Takes away what `front` has shown.
  void pop();

 private:
  [[nodiscard]] std::size_t buffered() const { return end_ - begin_; }
  [[nodiscard]] std::size_t frame_size() const;

  std::unique_ptr<std::byte[]> buffer_;  // limits::nic_read_bytes
  std::size_t begin_{};
  std::size_t end_{};
};

}  // namespace understudy::netbuffer
