#include "replication/frame_codec.hpp"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "replication/control_frame.hpp"
#include "replication/messages.pb.h"

using namespace understudy;
using namespace understudy::replication;

namespace {

std::vector<std::byte> some_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 31);
  return bytes;
}

FrameHeader some_header() {
  return {.type = FrameType::pages,
          .session = SessionId{0x1122334455667788},
          .sequence = Sequence{7},
          .epoch = Epoch{42}};
}

std::string complaint(HeaderBytes bytes, std::size_t at, std::uint8_t value) {
  bytes[at] = static_cast<std::byte>(value);
  const auto header = decode_header(bytes);
  if (header) return "accepted";
  CHECK(header.error().kind == ErrorKind::protocol);
  return header.error().message;
}

}  // namespace

TEST_CASE("a frame comes back as it went") {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{4104}, limits::frame_payload_bytes}) {
    const auto payload = some_bytes(size);
    const auto bytes = encode_header(some_header(), payload);
    const auto header = decode_header(bytes);
    REQUIRE(header);
    CHECK(header->type == FrameType::pages);
    CHECK(header->payload_bytes == size);
    CHECK(header->session == some_header().session);
    CHECK(header->sequence == Sequence{7});
    CHECK(header->epoch == Epoch{42});
    CHECK(verify_checksum(*header, payload));
  }
}

TEST_CASE("the layout is what PROTOCOL.md draws") {
  const auto bytes = encode_header(some_header(), some_bytes(0x1234));
  const auto at = [&](std::size_t i) { return std::to_integer<int>(bytes[i]); };
  CHECK(std::string{static_cast<char>(at(0)), static_cast<char>(at(1)), static_cast<char>(at(2)),
                    static_cast<char>(at(3))} == "USDY");
  CHECK(at(4) == 1);
  CHECK(at(5) == 4);
  CHECK((at(6) | at(7)) == 0);
  CHECK((at(8) == 0x34 && at(9) == 0x12));
  CHECK((at(16) == 0x88 && at(23) == 0x11));
  CHECK(at(24) == 7);
  CHECK(at(32) == 42);
}

TEST_CASE("each malformed field is refused with its own sentence") {
  const auto good = encode_header(some_header(), some_bytes(100));
  CHECK(complaint(good, 0, 'X').find("no replication frame") != std::string::npos);
  CHECK(complaint(good, 4, 2).find("version 2") != std::string::npos);
  CHECK(complaint(good, 4, 0).find("version 0") != std::string::npos);
  CHECK(complaint(good, 5, 0) == "a frame of unknown type 0");
  CHECK(complaint(good, 5, 18) == "a frame of unknown type 18");
  CHECK(complaint(good, 5, 255) == "a frame of unknown type 255");
  CHECK(complaint(good, 6, 1).find("reserved") != std::string::npos);
  CHECK(complaint(good, 7, 1).find("reserved") != std::string::npos);
  CHECK(complaint(good, 12, 1).find("reserved") != std::string::npos);
  CHECK(complaint(good, 15, 1).find("reserved") != std::string::npos);
  CHECK(complaint(good, 11, 0x80).find("at most 60368") != std::string::npos);
  CHECK(complaint(good, 24, 0).find("without a sequence number") != std::string::npos);
  CHECK(complaint(good, 5, static_cast<std::uint8_t>(FrameType::ack)) ==
        "a ack frame of 100 bytes, at most 0 are allowed");
}

TEST_CASE("a payload that is one byte too long is refused, the longest is not") {
  auto longest = encode_header(some_header(), some_bytes(limits::frame_payload_bytes));
  CHECK(decode_header(longest));
  const auto over = limits::frame_payload_bytes + 1;
  CHECK(complaint(longest, 8, static_cast<std::uint8_t>(over & 0xFFU)).find("60369") !=
        std::string::npos);
}

TEST_CASE("no flipped bit of header or payload passes unnoticed") {
  const auto payload = some_bytes(200);
  const auto good = encode_header(some_header(), payload);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bytes = good;
    bytes[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    const auto header = decode_header(bytes);
    CHECK_FALSE(
        (header && header->payload_bytes == payload.size() && verify_checksum(*header, payload)));
  }
  const auto header = decode_header(good);
  for (std::size_t bit = 0; bit < payload.size() * 8; ++bit) {
    auto damaged = payload;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    CHECK_FALSE(verify_checksum(*header, damaged));
  }
}

TEST_CASE("control messages are framed, and one that does not fit is an error") {
  Bye bye;
  bye.set_reason("enough");
  const auto frame = encode_message(FrameType::bye, SessionId{5}, bye);
  REQUIRE(frame);
  const std::span all{*frame};
  const auto header = decode_header(all.first<limits::frame_header_bytes>());
  REQUIRE(header);
  const auto payload = all.subspan(limits::frame_header_bytes);
  CHECK(header->payload_bytes == payload.size());
  CHECK(verify_checksum(*header, payload));
  Bye back;
  REQUIRE(decode_message(payload, FrameType::bye, back));
  CHECK(back.reason() == "enough");

  bye.set_reason(std::string(limits::frame_payload_bytes, 'x'));
  const auto too_long = encode_message(FrameType::bye, SessionId{5}, bye);
  REQUIRE_FALSE(too_long);
  CHECK(too_long.error().kind == ErrorKind::limit);
  CHECK(encode_bye(SessionId{5}, std::string(1U << 20U, '\xff')).size() < limits::frame_bytes);
  CHECK_FALSE(decode_message(some_bytes(50), FrameType::bye, back));
}

TEST_CASE("every type has a name") {
  for (std::uint8_t type = 1; type <= 12; ++type) {
    CHECK(to_string(static_cast<FrameType>(type)) != "unknown");
  }
}
