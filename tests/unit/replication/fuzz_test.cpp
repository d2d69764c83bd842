// The fuzz targets with noise: a few seconds of what libFuzzer does for hours.
#include <algorithm>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "fuzz_targets.hpp"
#include "replication/datagram_packet.hpp"
#include "shared_key.hpp"
#include "tests/unit/fuzz_seed.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

std::vector<std::byte> noise(std::mt19937_64& random, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// The next frames of an honest primary, as fuzz_receiver reads them.
void append(std::vector<std::byte>& input, FrameType type, const std::string& payload) {
  for (const auto value : {static_cast<int>(type) - 1, 1, 1, static_cast<int>(payload.size())}) {
    input.push_back(static_cast<std::byte>(value));
  }
  const auto bytes = std::as_bytes(std::span{payload});
  input.insert(input.end(), bytes.begin(), bytes.end());
}

/// A packet nearly as an honest peer would send it.
std::vector<std::byte> packet_like(std::mt19937_64& random) {
  const auto roll = [&random](std::uint64_t sides) { return random() % sides; };
  PacketHeader header{.kind = static_cast<PacketKind>(1 + roll(9)),
                      .sealed = roll(20) == 0,
                      .answering = roll(20) == 0,
                      .first = roll(2) == 0,
                      .last = roll(2) == 0,
                      .end = roll(20) == 0,
                      .payload_bytes = static_cast<std::uint32_t>(roll(60)),
                      .connection = ConnectionId{1 + roll(20) / 19},
                      .number = PacketNumber{roll(20) == 0 ? random() : 1 + roll(30)},
                      .sequence = SegmentNumber{roll(20) == 0 ? random() : roll(10)},
                      .acked = SegmentNumber{roll(8) == 0 ? roll(20) : roll(3)},
                      .newest = PacketNumber{roll(8) == 0 ? roll(40) : roll(3)},
                      .limit = SegmentNumber{roll(8) == 0 ? random() : 10 + roll(10)},
                      .delay_us = static_cast<std::uint32_t>(random())};
  if (header.kind != PacketKind::data) header.first = header.last = header.end = false;
  if (header.kind != PacketKind::data) header.sequence = {};
  auto bytes = noise(random, limits::datagram_overhead + header.payload_bytes);
  std::ranges::copy(encode_packet_header(header), bytes.begin());
  return bytes;
}

}  // namespace

TEST_CASE("packets may be any bytes") {
  std::mt19937_64 random{fuzz_seed()};
  for (int round = 0; round < 20'000; ++round) {
    auto input = round % 2 == 0 ? noise(random, random() % 200) : packet_like(random);
    if (round % 4 == 1) input[random() % input.size()] ^= std::byte{1};
    CHECK_NOTHROW(fuzz_datagram_packet(input));
  }
}

TEST_CASE("a connection over datagrams takes any packets") {
  std::mt19937_64 random{fuzz_seed()};
  for (int round = 0; round < 5'000; ++round) {
    std::vector<std::byte> input;
    for (auto packets = random() % 40; packets > 0; --packets) {
      const auto packet = packet_like(random);
      input.push_back(static_cast<std::byte>(random()));
      input.push_back(static_cast<std::byte>(packet.size()));
      input.insert(input.end(), packet.begin(), packet.end());
    }
    CHECK_NOTHROW(fuzz_datagram_machine(input));
  }
}

TEST_CASE("a host with a key takes any packets, and gives few places to those without") {
  std::mt19937_64 random{fuzz_seed()};
  const std::string question{"c\0b", 3};
  for (int round = 0; round < 2'000; ++round) {
    std::vector<std::byte> input;
    for (auto packets = random() % 60; packets > 0; --packets) {
      auto packet = packet_like(random);
      if (random() % 4 == 0) {
        const PacketHeader ask{.kind = PacketKind::ask,
                               .payload_bytes = static_cast<std::uint32_t>(question.size()),
                               .connection = ConnectionId{random()},
                               .number = PacketNumber{1}};
        packet.assign(limits::datagram_overhead + question.size(), {});
        const auto at = std::ranges::copy(encode_packet_header(ask), packet.begin()).out;
        std::ranges::copy(std::as_bytes(std::span{question}), at);
      }
      input.push_back(static_cast<std::byte>(random()));
      input.push_back(static_cast<std::byte>(packet.size()));
      input.insert(input.end(), packet.begin(), packet.end());
    }
    CHECK_NOTHROW(fuzz_datagram_host(input));
  }
}

TEST_CASE("the codec takes any bytes") {
  std::mt19937_64 random{fuzz_seed()};
  for (int round = 0; round < 20'000; ++round) {
    auto input = noise(random, random() % 200);
    const auto payload = std::span{input}.subspan(std::min<std::size_t>(48, input.size()));
    if (round % 2 == 0 && input.size() >= limits::frame_header_bytes) {
      const auto header =
          encode_header({.type = FrameType::pages, .sequence = Sequence{1}}, payload);
      std::ranges::copy(header, input.begin());
      if (round % 4 == 0) input[random() % input.size()] ^= std::byte{1};
    }
    CHECK_NOTHROW(fuzz_frame_codec(input));
  }
}

TEST_CASE("the receiver takes any frames, and commits only whole epochs in order") {
  std::mt19937_64 random{fuzz_seed()};
  auto seal = seal_of(0);
  seal.set_used_bytes(0, 4096);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> input;
    for (std::uint64_t epoch = random() % 6; epoch > 0; --epoch) {
      const auto frames = random() % 4;
      for (std::uint64_t i = 0; i < frames; ++i) append(input, FrameType::pages, "some page");
      seal.set_frames(frames);
      append(input, FrameType::seal, seal.SerializeAsString());
    }
    if (round % 2 == 0 && !input.empty())
      input[random() % input.size()] = static_cast<std::byte>(random());
    const auto rest = noise(random, random() % 100);
    input.insert(input.end(), rest.begin(), rest.end());
    CHECK_NOTHROW(fuzz_receiver(input));
  }
}

TEST_CASE("a handshake takes any bytes, and lets nobody in") {
  std::mt19937_64 random{fuzz_seed()};
  // What a peer with another key would say, for the parsers behind the first byte to see something.
  const auto hello = Handshake::begin(with_key(), HandshakeSide::client).value()->take_output();
  for (int round = 0; round < 2'000; ++round) {
    auto input = noise(random, 2 + random() % 600);
    if (round % 2 == 0) {
      input.resize(2);
      input[0] = std::byte{1};
      input.insert(input.end(), hello.begin(), hello.end());
      input[2 + random() % hello.size()] = static_cast<std::byte>(random());
    }
    CHECK_NOTHROW(fuzz_handshake(input));
  }
}

TEST_CASE("a secured stream gives out what was put in, up to the first meddling") {
  std::mt19937_64 random{fuzz_seed()};
  for (int round = 0; round < 1'000; ++round) {
    CHECK_NOTHROW(fuzz_frame_stream(noise(random, random() % 60)));
  }
}
