#include "replication/frame_codec.hpp"

#include <xxhash.h>

#include "replication/little_endian.hpp"

namespace understudy::replication {
namespace {

constexpr std::size_t magic_at = 0;
constexpr std::size_t version_at = 4;
constexpr std::size_t type_at = 5;
constexpr std::size_t reserved_at = 6;  // two bytes, zero
constexpr std::size_t payload_bytes_at = 8;
constexpr std::size_t reserved_too_at = 12;  // four bytes, zero
constexpr std::size_t session_at = 16;
constexpr std::size_t sequence_at = 24;
constexpr std::size_t epoch_at = 32;
constexpr std::size_t checksum_at = 40;

static_assert(checksum_at + sizeof(std::uint64_t) == limits::frame_header_bytes);

using Bytes = std::span<const std::byte, limits::frame_header_bytes>;

HeaderBytes encode_unsummed(const FrameHeader& header) {
  HeaderBytes bytes{};
  put(bytes, magic_at, frame_magic);
  put(bytes, version_at, protocol_version);
  put(bytes, type_at, static_cast<std::uint8_t>(header.type));
  put(bytes, payload_bytes_at, header.payload_bytes);
  put(bytes, session_at, header.session.value());
  put(bytes, sequence_at, header.sequence.value());
  put(bytes, epoch_at, header.epoch.value());
  return bytes;
}

/// XXH3-64 of the payload, seeded with that of the header up to its checksum.
std::uint64_t checksum(const HeaderBytes& header, std::span<const std::byte> payload) {
  return XXH3_64bits_withSeed(payload.data(), payload.size(),
                              XXH3_64bits(header.data(), checksum_at));
}

constexpr bool without_payload(FrameType type) {
  return type == FrameType::ack || type == FrameType::commit || type == FrameType::ping ||
         type == FrameType::pong || type == FrameType::probe_reply;
}

}  // namespace

std::string_view to_string(FrameType type) {
  switch (type) {
    case FrameType::hello: return "hello";
    case FrameType::hello_reply: return "hello_reply";
    case FrameType::sync_pages: return "sync_pages";
    case FrameType::pages: return "pages";
    case FrameType::seal: return "seal";
    case FrameType::request: return "request";
    case FrameType::ack: return "ack";
    case FrameType::commit: return "commit";
    case FrameType::reply: return "reply";
    case FrameType::ping: return "ping";
    case FrameType::pong: return "pong";
    case FrameType::bye: return "bye";
    case FrameType::probe: return "probe";
    case FrameType::probe_reply: return "probe_reply";
    case FrameType::sync_disk: return "sync_disk";
    case FrameType::disk: return "disk";
    case FrameType::input: return "input";
  }
  return "unknown";
}

HeaderBytes encode_header(FrameHeader header, std::span<const std::byte> payload) {
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  auto bytes = encode_unsummed(header);
  put(bytes, checksum_at, checksum(bytes, payload));
  return bytes;
}

Result<FrameHeader> decode_header(Bytes bytes) {
  if (const auto magic = get<std::uint32_t>(bytes, magic_at); magic != frame_magic) {
    return fail(ErrorKind::protocol, "this is no replication frame: magic {:08x} instead of {:08x}",
                magic, frame_magic);
  }
  if (const auto version = get<std::uint8_t>(bytes, version_at); version != protocol_version) {
    return fail(ErrorKind::protocol,
                "the peer speaks version {} of the replication protocol, we speak {}: install the "
                "same version of Understudy on both hosts",
                version, protocol_version);
  }
  const auto type = get<std::uint8_t>(bytes, type_at);
  if (type < static_cast<std::uint8_t>(FrameType::hello) ||
      type > static_cast<std::uint8_t>(FrameType::input)) {
    return fail(ErrorKind::protocol, "a frame of unknown type {}", type);
  }
  if (get<std::uint16_t>(bytes, reserved_at) != 0 ||
      get<std::uint32_t>(bytes, reserved_too_at) != 0) {
    return fail(ErrorKind::protocol, "a frame whose reserved bytes are not zero");
  }
  const FrameHeader header{static_cast<FrameType>(type),
                           get<std::uint32_t>(bytes, payload_bytes_at),
                           SessionId{get<std::uint64_t>(bytes, session_at)},
                           Sequence{get<std::uint64_t>(bytes, sequence_at)},
                           Epoch{get<std::uint64_t>(bytes, epoch_at)},
                           get<std::uint64_t>(bytes, checksum_at)};
  const auto limit = without_payload(header.type) ? 0 : limits::frame_payload_bytes;
  if (header.payload_bytes > limit) {
    return fail(ErrorKind::protocol, "a {} frame of {} bytes, at most {} are allowed",
                to_string(header.type), header.payload_bytes, limit);
  }
  if (sequenced(header.type) && header.sequence == Sequence{}) {
    return fail(ErrorKind::protocol, "a {} frame without a sequence number",
                to_string(header.type));
  }
  return header;
}

Result<> verify_checksum(const FrameHeader& header, std::span<const std::byte> payload) {
  if (checksum(encode_unsummed(header), payload) == header.checksum) return {};
  return fail(ErrorKind::protocol, "the checksum of a {} frame of {} bytes does not hold",
              to_string(header.type), header.payload_bytes);
}

}  // namespace understudy::replication
