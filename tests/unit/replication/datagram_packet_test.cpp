#include <random>

#include <catch2/catch.hpp>

#include "replication/datagram_packet.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

std::vector<std::byte> datagram_of(const PacketHeader& header) {
  std::vector<std::byte> bytes(limits::datagram_overhead + header.payload_bytes);
  std::ranges::copy(encode_packet_header(header), bytes.begin());
  return bytes;
}

const PacketHeader data{.kind = PacketKind::data,
                        .sealed = true,
                        .answering = true,
                        .first = true,
                        .last = false,
                        .end = false,
                        .payload_bytes = 1000,
                        .connection = ConnectionId{0x0123456789abcdef},
                        .number = PacketNumber{7},
                        .sequence = SegmentNumber{5},
                        .acked = SegmentNumber{3},
                        .newest = PacketNumber{9},
                        .limit = SegmentNumber{51},
                        .delay_us = 120};

}  // namespace

TEST_CASE("a packet's header survives its encoding") {
  auto bytes = datagram_of(data);
  const auto packet = decode_packet(bytes);
  REQUIRE(packet.has_value());
  CHECK(packet->header == data);
  CHECK(packet->payload.data() == bytes.data() + limits::datagram_header_bytes);
  CHECK(packet->payload.size() == 1000);
  CHECK(packet->tag.data() == bytes.data() + bytes.size() - limits::datagram_tag_bytes);
}

TEST_CASE("what is no packet is not decoded") {
  auto bytes = datagram_of(data);
  SECTION("another magic") {
    bytes[0] ^= std::byte{1};
  }
  SECTION("another version") {
    bytes[4] = std::byte{2};
  }
  SECTION("an unknown kind") {
    bytes[5] = std::byte{10};
  }
  SECTION("an unknown flag") {
    bytes[6] |= std::byte{32};
  }
  SECTION("a reserved byte") {
    bytes[7] = std::byte{1};
  }
  SECTION("cut") {
    bytes.pop_back();
  }
  SECTION("with something behind") {
    bytes.emplace_back();
  }
  SECTION("a length that overflows") {
    std::fill_n(bytes.begin() + 60, 4, std::byte{0xff});
  }
  SECTION("number 0") {
    bytes[16] = {};
  }
  SECTION("nearly nothing") {
    bytes.resize(limits::datagram_overhead - 1);
  }
  SECTION("nothing") {
    bytes.clear();
  }
  CHECK_FALSE(decode_packet(bytes).has_value());
}

TEST_CASE("a packet has what its kind has") {
  const auto decodes = [](PacketHeader header) {
    auto bytes = datagram_of(header);
    return decode_packet(bytes).has_value();
  };
  const PacketHeader plain{.kind = PacketKind::ack, .number = PacketNumber{1}};
  CHECK(decodes(plain));
  auto header = plain;
  header.first = true;
  CHECK_FALSE(decodes(header));
  header = plain;
  header.sequence = SegmentNumber{1};
  CHECK_FALSE(decodes(header));
  header = plain;
  header.payload_bytes = limits::channel_segments / 8 + 1;
  CHECK_FALSE(decodes(header));
  header = plain;
  header.kind = PacketKind::probe;
  header.payload_bytes = 1;
  CHECK_FALSE(decodes(header));
  header = plain;
  header.kind = PacketKind::data;
  CHECK_FALSE(decodes(header));  // of nothing
  header.end = true;
  CHECK(decodes(header));
  header.payload_bytes = 1;
  CHECK_FALSE(decodes(header));
  header = plain;
  header.kind = PacketKind::ask;
  CHECK(decodes(header));
  header.sealed = true;
  CHECK_FALSE(decodes(header));
}
