// Packets: what travels between two hosts where there are only datagrams. PROTOCOL.md draws them.
// Pure.
//
// All numbers are little-endian. A packet is a header, a payload and a tag, and fills its datagram;
// the tag covers the header as it stands there. What does not decode, or whose tag does not hold,
// was damaged or forged and counts as lost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "config/limits.hpp"
#include "config/types.hpp"

namespace understudy::replication {

/// Random, chosen by who dials.
using ConnectionId = Strong<struct ConnectionIdTag>;
/// Of a packet, by direction; the first is 1. Never used twice: what is sent again gets a new one.
using PacketNumber = Strong<struct PacketNumberTag>;
/// Of a segment, by direction; the first is 0. What is sent again keeps it.
using SegmentNumber = Strong<struct SegmentNumberTag>;

inline constexpr std::uint32_t packet_magic = 0x47445355;  // "USDG"
inline constexpr std::uint8_t packet_version = 1;

enum class PacketKind : std::uint8_t {
  data = 1,   ///< a segment of a message
  ack = 2,    ///< payload: which segments behind `acked` are held, a bit for each
  probe = 3,  ///< asks for an ack now
  close = 4,  ///< the connection is over
  ask = 5,    ///< to every host: who is this? Payload: cluster and host, a zero between
  here = 6,   ///< that is me; payload, where hosts have a key: a ticket to knock with
  knock = 7,  ///< payload: the ticket
  enter = 8,  ///< to who knocked: there is a place for the connection
  gone = 9,   ///< of a connection that is under keys: this host does not know it (any more)
};

struct PacketHeader {
  PacketKind kind{};
  bool sealed{};     ///< the tag is of an AEAD, the payload encrypted; else the tag is a checksum
  bool answering{};  ///< from the host that was dialled
  bool first{};      ///< data: a message begins
  bool last{};       ///< data: a message ends
  bool end{};        ///< data: no message follows; no payload
  std::uint32_t payload_bytes{};
  ConnectionId connection{};
  PacketNumber number{};
  SegmentNumber sequence{};  ///< data: which segment
  SegmentNumber acked{};     ///< all segments before this one have come
  PacketNumber newest{};     ///< that has come; 0: this packet does not say all that has come
  SegmentNumber limit{};     ///< segments before this one may be sent
  std::uint32_t delay_us{};  ///< since `newest` came
  friend bool operator==(const PacketHeader&, const PacketHeader&) = default;
};

using PacketHeaderBytes = std::array<std::byte, limits::datagram_header_bytes>;

[[nodiscard]] PacketHeaderBytes encode_packet_header(const PacketHeader& header);

/// A whole datagram, its tag unchecked. The spans point into it.
struct Packet {
  PacketHeader header;
  std::span<std::byte, limits::datagram_header_bytes> header_bytes;
  std::span<std::byte> payload;
  std::span<std::byte, limits::datagram_tag_bytes> tag;
};

[[nodiscard]] std::optional<Packet> decode_packet(std::span<std::byte> datagram);

}  // namespace understudy::replication
