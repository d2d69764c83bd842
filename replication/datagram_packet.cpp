#include "replication/datagram_packet.hpp"

#include <algorithm>

#include "replication/little_endian.hpp"

namespace understudy::replication {
namespace {

constexpr std::size_t magic_at = 0;
constexpr std::size_t version_at = 4;
constexpr std::size_t kind_at = 5;
constexpr std::size_t flags_at = 6;
constexpr std::size_t reserved_at = 7;  // zero
constexpr std::size_t connection_at = 8;
constexpr std::size_t number_at = 16;
constexpr std::size_t sequence_at = 24;
constexpr std::size_t acked_at = 32;
constexpr std::size_t newest_at = 40;
constexpr std::size_t limit_at = 48;
constexpr std::size_t delay_at = 56;
constexpr std::size_t payload_bytes_at = 60;

static_assert(payload_bytes_at + sizeof(std::uint32_t) == limits::datagram_header_bytes);

constexpr std::uint8_t sealed_flag = 1;
constexpr std::uint8_t answering_flag = 2;
constexpr std::uint8_t first_flag = 4;
constexpr std::uint8_t last_flag = 8;
constexpr std::uint8_t end_flag = 16;
constexpr std::uint8_t data_flags = first_flag | last_flag | end_flag;
constexpr std::uint8_t all_flags = sealed_flag | answering_flag | data_flags;

using Bytes = std::span<const std::byte, limits::datagram_header_bytes>;

std::uint8_t flags_of(const PacketHeader& header) {
  const int flags = (header.sealed ? sealed_flag : 0) | (header.answering ? answering_flag : 0) |
                    (header.first ? first_flag : 0) | (header.last ? last_flag : 0) |
                    (header.end ? end_flag : 0);
  return static_cast<std::uint8_t>(flags);
}

bool fits_its_kind(const PacketHeader& header) {
  switch (header.kind) {
    case PacketKind::data:
      return header.end ? header.payload_bytes == 0 && !header.first && !header.last
                        : header.payload_bytes > 0;
    case PacketKind::ack: return header.payload_bytes <= limits::channel_segments / 8;
    case PacketKind::probe:
    case PacketKind::close: return header.payload_bytes == 0;
    case PacketKind::ask: return !header.sealed;
    case PacketKind::here:
      return !header.sealed &&
             (header.payload_bytes == 0 || header.payload_bytes == limits::ticket_bytes);
    case PacketKind::knock: return !header.sealed && header.payload_bytes == limits::ticket_bytes;
    case PacketKind::enter:
    case PacketKind::gone: return !header.sealed && header.payload_bytes == 0;
  }
  return false;
}

}  // namespace

PacketHeaderBytes encode_packet_header(const PacketHeader& header) {
  PacketHeaderBytes bytes{};
  put(bytes, magic_at, packet_magic);
  put(bytes, version_at, packet_version);
  put(bytes, kind_at, static_cast<std::uint8_t>(header.kind));
  put(bytes, flags_at, flags_of(header));
  put(bytes, connection_at, header.connection.value());
  put(bytes, number_at, header.number.value());
  put(bytes, sequence_at, header.sequence.value());
  put(bytes, acked_at, header.acked.value());
  put(bytes, newest_at, header.newest.value());
  put(bytes, limit_at, header.limit.value());
  put(bytes, delay_at, header.delay_us);
  put(bytes, payload_bytes_at, header.payload_bytes);
  return bytes;
}

std::optional<Packet> decode_packet(std::span<std::byte> datagram) {
  if (datagram.size() < limits::datagram_overhead) return std::nullopt;
  const auto bytes = datagram.first<limits::datagram_header_bytes>();
  const auto flags = get<std::uint8_t>(bytes, flags_at);
  const PacketHeader header{.kind = static_cast<PacketKind>(get<std::uint8_t>(bytes, kind_at)),
                            .sealed = (flags & sealed_flag) != 0,
                            .answering = (flags & answering_flag) != 0,
                            .first = (flags & first_flag) != 0,
                            .last = (flags & last_flag) != 0,
                            .end = (flags & end_flag) != 0,
                            .payload_bytes = get<std::uint32_t>(bytes, payload_bytes_at),
                            .connection = ConnectionId{get<std::uint64_t>(bytes, connection_at)},
                            .number = PacketNumber{get<std::uint64_t>(bytes, number_at)},
                            .sequence = SegmentNumber{get<std::uint64_t>(bytes, sequence_at)},
                            .acked = SegmentNumber{get<std::uint64_t>(bytes, acked_at)},
                            .newest = PacketNumber{get<std::uint64_t>(bytes, newest_at)},
                            .limit = SegmentNumber{get<std::uint64_t>(bytes, limit_at)},
                            .delay_us = get<std::uint32_t>(bytes, delay_at)};
  const bool ours = get<std::uint32_t>(bytes, magic_at) == packet_magic &&
                    get<std::uint8_t>(bytes, version_at) == packet_version &&
                    (flags & ~all_flags) == 0 && get<std::uint8_t>(bytes, reserved_at) == 0;
  const bool plain = header.kind == PacketKind::data ||
                     ((flags & data_flags) == 0 && header.sequence == SegmentNumber{});
  if (!ours || !plain || !fits_its_kind(header) || header.number == PacketNumber{} ||
      header.payload_bytes != datagram.size() - limits::datagram_overhead) {
    return std::nullopt;
  }
  return Packet{header, bytes,
                datagram.subspan(limits::datagram_header_bytes, header.payload_bytes),
                datagram.last<limits::datagram_tag_bytes>()};
}

}  // namespace understudy::replication
