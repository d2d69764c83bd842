#include "checkpointer/input_codec.hpp"

#include <catch2/catch.hpp>

#include "config/limits.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using netbuffer::GivenFrame;

GivenFrame given(std::size_t nic, std::size_t bytes, std::byte with) {
  return {nic, Epoch{1}, std::vector<std::byte>(bytes, with)};
}

}  // namespace

TEST_CASE("input comes out as it went in, in order, whatever payloads it takes") {
  const std::vector<GivenFrame> frames{
      given(0, 60, std::byte{1}),     given(3, 1514, std::byte{2}), given(1, 40'000, std::byte{3}),
      given(0, 30'000, std::byte{4}), given(2, 1, std::byte{5}),
  };
  const auto payloads = encode_input(frames);
  CHECK(payloads.size() == 2);
  std::size_t at = 0;
  for (const auto& payload : payloads) {
    CHECK(payload.size() <= limits::frame_payload_bytes);
    REQUIRE(check_input(payload));
    for_each_input(payload, [&](std::size_t nic, std::span<const std::byte> frame) {
      REQUIRE(at < frames.size());
      CHECK(nic == frames[at].nic);
      CHECK(std::ranges::equal(frame, frames[at++].frame));
    });
  }
  CHECK(at == frames.size());
}

TEST_CASE("a frame that no payload holds is left out, the others are not") {
  const std::vector<GivenFrame> frames{given(0, limits::packet_bytes, std::byte{1}),
                                       given(0, 0, std::byte{}), given(0, 60, std::byte{2})};
  const auto payloads = encode_input(frames);
  REQUIRE(payloads.size() == 1);
  CHECK(payloads.front().size() < 100);
  CHECK(encode_input({}).empty());
}

TEST_CASE("input records that cannot be are refused") {
  const std::vector<GivenFrame> frames{given(1, 60, std::byte{1})};
  const auto good = encode_input(frames).front();
  const auto refused = [&](std::size_t at, std::byte value) {
    auto bad = good;
    bad.at(at) = value;
    const auto checked = check_input(bad);
    return !checked && checked.error().kind == ErrorKind::protocol;
  };
  CHECK(refused(0, std::byte{limits::nics_per_guest}));
  CHECK(refused(1, std::byte{1}));
  CHECK(refused(2, std::byte{0}));
  CHECK(refused(2, std::byte{61}));
  CHECK(refused(5, std::byte{255}));
  CHECK_FALSE(check_input(std::span{good}.first(3)));
  CHECK_FALSE(check_input(std::span{good}.first(good.size() - 1)));
  CHECK_FALSE(check_input({}));
}
