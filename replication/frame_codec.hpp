// Frames: what travels between two hosts. PROTOCOL.md draws them. Pure.
//
// All numbers are little-endian. The checksum covers header and payload; a frame that fails it,
// bears another magic or version, an unknown type or a length over the limit ends the link with an
// error that says which.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "config/limits.hpp"
#include "config/result.hpp"
#include "config/types.hpp"

namespace understudy::replication {

using SessionId = Strong<struct SessionIdTag>;
/// Position of a sequenced frame in its session; the first is 1.
using Sequence = Strong<struct SequenceTag>;

inline constexpr std::uint32_t frame_magic = 0x59445355;  // "USDY"
inline constexpr std::uint8_t protocol_version = 1;

enum class FrameType : std::uint8_t {
  hello = 1,         ///< primary opens or resumes a session; Protocol Buffers (Hello)
  hello_reply = 2,   ///< backup accepts or refuses; Protocol Buffers (HelloReply)
  sync_pages = 3,    ///< sequenced: pages of the full synchronisation, applied at once
  pages = 4,         ///< sequenced: pages of an epoch, staged until its seal
  seal = 5,          ///< sequenced: the epoch is whole; Protocol Buffers (Seal)
  request = 6,       ///< sequenced: a question in order with the epochs; Protocol Buffers (Request)
  ack = 7,           ///< backup: all frames up to `sequence` are held; no payload
  commit = 8,        ///< backup: an ack, and all epochs up to `epoch` are held whole; no payload
  reply = 9,         ///< backup: answer to a request; Protocol Buffers (Reply)
  ping = 10,         ///< either: answer with a pong; no payload
  pong = 11,         ///< no payload
  bye = 12,          ///< either: the session ends; Protocol Buffers (Bye)
  probe = 13,        ///< of a link test; answered if it has a sequence number; any payload
  probe_reply = 14,  ///< with the probe's sequence number; no payload
  sync_disk = 15,    ///< sequenced: disk contents of the full synchronisation, applied at once
  disk = 16,         ///< sequenced: disk writes of an epoch, staged until its seal
  input = 17,        ///< primary: what the guest was given in an epoch; may be lost
};

/// Sequenced frames are numbered, kept by the sender until acknowledged, and delivered in order.
[[nodiscard]] constexpr bool sequenced(FrameType type) {
  return (type >= FrameType::sync_pages && type <= FrameType::request) ||
         type == FrameType::sync_disk || type == FrameType::disk;
}

[[nodiscard]] std::string_view to_string(FrameType type);

struct FrameHeader {
  FrameType type{};
  std::uint32_t payload_bytes{};
  SessionId session{};
  Sequence sequence{};  ///< of this frame if sequenced; in `ack` and `commit`: the last one held
  Epoch epoch{};        ///< to which this frame belongs; in `commit`: the last one held whole
  std::uint64_t checksum{};
  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

using HeaderBytes = std::array<std::byte, limits::frame_header_bytes>;

/// Fills in the checksum over `payload`.
[[nodiscard]] HeaderBytes encode_header(FrameHeader header, std::span<const std::byte> payload);

/// Everything but the checksum is checked, for that needs the payload.
[[nodiscard]] Result<FrameHeader> decode_header(
    std::span<const std::byte, limits::frame_header_bytes> bytes);

[[nodiscard]] Result<> verify_checksum(const FrameHeader& header,
                                       std::span<const std::byte> payload);

}  // namespace understudy::replication
