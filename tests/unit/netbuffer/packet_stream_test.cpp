#include "netbuffer/packet_stream.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "fake_uplink.hpp"
#include "tests/unit/fuzz_seed.hpp"

using namespace understudy;
using namespace understudy::netbuffer;
using namespace std::string_literals;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void feed(PacketDecoder& decoder, const std::string& stream) {
  const auto bytes = std::as_bytes(std::span{stream});
  const auto space = decoder.space();
  REQUIRE(space.size() >= bytes.size());
  std::copy(bytes.begin(), bytes.end(), space.begin());
  decoder.filled(bytes.size());
}

/// "-" when none is there.
std::string next(PacketDecoder& decoder) {
  const auto frame = decoder.front();
  REQUIRE(frame);
  if (!*frame) return "-";
  auto result = text(**frame);
  decoder.pop();
  return result;
}

}  // namespace

TEST_CASE("a length goes before each frame in network order") {
  CHECK(text(packet_header(1)) == "\0\0\0\1"s);
  CHECK(text(packet_header(limits::packet_bytes)) == "\0\1\x10\0"s);
}

TEST_CASE("frames are found however the stream is cut") {
  const auto stream = "\0\0\0\3abc\0\0\0\1d\0\0\0\5efghi"s;
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    PacketDecoder decoder;
    std::string found;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      feed(decoder, stream.substr(at, piece));
      for (auto frame = next(decoder); frame != "-"; frame = next(decoder)) found += frame + "|";
    }
    CHECK(found == "abc|d|efghi|");
  }
}

TEST_CASE("a frame that is not taken away stays") {
  PacketDecoder decoder;
  feed(decoder, "\0\0\0\3abc\0\0\0\1d"s);
  CHECK(text(**decoder.front()) == "abc");
  feed(decoder, "\0\0\0\1e"s);
  CHECK(next(decoder) == "abc");
  CHECK(next(decoder) == "d");
  CHECK(next(decoder) == "e");
  CHECK(next(decoder) == "-");
}

TEST_CASE("the largest frame passes, and there is space for more behind it") {
  PacketDecoder decoder;
  const std::string largest(limits::packet_bytes, 'x');
  feed(decoder, text(packet_header(largest.size())) + largest);
  CHECK_FALSE(decoder.space().empty());
  CHECK(next(decoder) == largest);
}

TEST_CASE("a hostile length is an error, for ever") {
  const auto hostile = GENERATE("\0\1\x10\1"s, "\xff\xff\xff\xff"s, "\x80\0\0\0"s);
  PacketDecoder decoder;
  feed(decoder, "\0\0\0\1a"s + hostile);
  CHECK(next(decoder) == "a");
  REQUIRE_FALSE(decoder.front());
  CHECK(decoder.front().error().kind == ErrorKind::protocol);
  feed(decoder, "\0\0\0\1b"s);
  CHECK_FALSE(decoder.front());
}

TEST_CASE("the fuzz target holds for random streams") {
  std::mt19937_64 random{fuzz_seed()};
  std::vector<std::uint8_t> input;
  for (int run = 0; run < 2000; ++run) {
    input.assign({static_cast<std::uint8_t>(random()), static_cast<std::uint8_t>(random() % 3)});
    const auto frames = random() % 20;
    for (std::size_t i = 0; i < frames; ++i) {
      const bool hostile = random() % 64 == 0;
      const auto size = random() % (random() % 4 == 0 ? limits::packet_bytes : 200);
      const auto length = hostile ? random() : size;
      for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        input.push_back(static_cast<std::uint8_t>(length >> shift));
      }
      input.insert(input.end(), size, static_cast<std::uint8_t>(i));
    }
    input.resize(input.size() - std::min<std::size_t>(input.size(), random() % 8));
    REQUIRE(LLVMFuzzerTestOneInput(input.data(), input.size()) == 0);
  }
}
