// Frames through a stream: in clear text and secured, in any pieces, and with what does not belong.
#include <algorithm>

#include <catch2/catch.hpp>

#include "raw_peer.hpp"
#include "replication/frame_stream.hpp"
#include "shared_key.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

using Bytes = std::vector<std::byte>;
using Step = FrameStream::Step;

Bytes frame_bytes(std::uint64_t sequence, const std::string& text) {
  const auto frame = make_frame(FrameType::pages, 5, sequence, 1, text);
  const auto header = encode_header(frame.header, frame.payload);
  Bytes bytes(header.size() + frame.payload.size());
  std::ranges::copy(frame.payload, std::ranges::copy(header, bytes.begin()).out);
  return bytes;
}

/// One end, and what has come out of it.
struct Party {
  explicit Party(std::shared_ptr<const Credentials> credentials, HandshakeSide side)
      : stream{FrameStream::begin(std::move(credentials), side).value()} {}

  Bytes leaving(const Bytes& frame) {
    if (!stream.secured()) return frame;
    Bytes record(frame.size() + FrameStream::overhead_bytes);
    stream.seal(frame, record);
    return record;
  }

  /// The stream's error, if it refuses what comes.
  std::string take(std::span<const std::byte> bytes, std::size_t piece = 100'000) {
    while (true) {
      const auto step = stream.advance();
      if (!step) return step.error().message;
      if (*step == Step::header) stream.place(room);
      if (*step == Step::frame) frames.push_back(std::string(text_of(stream.payload())));
      if (*step != Step::more) continue;
      if (bytes.empty()) return "";
      std::size_t filled = 0;
      for (const auto space : stream.room()) {
        const auto part = std::min({space.size(), bytes.size() - filled, piece - filled});
        std::ranges::copy(bytes.subspan(filled, part), space.begin());
        filled += part;
      }
      stream.filled(filled);
      bytes = bytes.subspan(filled);
    }
  }

  static std::string text_of(std::span<const std::byte> bytes) {
    std::string text;
    for (const auto byte : bytes) text.push_back(static_cast<char>(byte));
    return text;
  }

  FrameStream stream;
  Bytes room = Bytes(limits::frame_payload_bytes);
  std::vector<std::string> frames;
};

struct Ends {
  explicit Ends(const std::shared_ptr<const Credentials>& credentials, std::size_t piece = 100'000)
      : client{credentials, HandshakeSide::client}, server{credentials, HandshakeSide::server} {
    for (int turn = 0; turn < 3; ++turn) {
      CHECK(server.take(client.stream.take_output(), piece).empty());
      CHECK(client.take(server.stream.take_output(), piece).empty());
    }
    REQUIRE(client.stream.ready());
    REQUIRE(server.stream.ready());
  }
  Party client;
  Party server;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("frames pass a stream in both directions, however it is cut") {
  const auto credentials = GENERATE(in_clear(), with_key());
  const auto piece = GENERATE(1UL, 13UL, 52UL, 100'000UL);
  Ends ends{credentials, piece};
  CHECK(ends.client.stream.secured() == (credentials != nullptr));
  std::vector<std::string> texts;
  Bytes there;
  Bytes back;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    texts.push_back(i == 3 ? "" : std::string(i * 600, static_cast<char>('a' + i)));
    const auto frame = frame_bytes(i, texts.back());
    const auto append = [](Bytes& to, const Bytes& what) {
      to.insert(to.end(), what.begin(), what.end());
    };
    append(there, ends.client.leaving(frame));
    append(back, ends.server.leaving(frame));
  }
  CHECK(ends.server.take(there, piece).empty());
  CHECK(ends.client.take(back, piece).empty());
  CHECK(ends.server.frames == texts);
  CHECK(ends.client.frames == texts);
  CHECK(ends.server.stream.end().message == "the peer closed the connection");
}

TEST_CASE("the largest frame passes as a record") {
  Ends ends{with_key()};
  const std::string text(limits::frame_payload_bytes, 'x');
  CHECK(ends.server.take(ends.client.leaving(frame_bytes(1, text))).empty());
  CHECK(ends.server.frames == std::vector{text});
}

TEST_CASE("a stream goes on where it was moved to, with what it has read ahead") {
  const auto credentials = GENERATE(in_clear(), with_key());
  Ends ends{credentials};
  auto bytes = ends.client.leaving(frame_bytes(1, "one"));
  const auto second = ends.client.leaving(frame_bytes(2, "two"));
  bytes.insert(bytes.end(), second.begin(), second.begin() + 30);
  CHECK(ends.server.take(bytes).empty());
  CHECK(ends.server.frames == std::vector<std::string>{"one"});
  CHECK(ends.server.stream.between_frames());
  Party moved{in_clear(), HandshakeSide::server};
  moved.stream = std::move(ends.server.stream);
  CHECK(moved.take(std::span{second}.subspan(30)).empty());
  CHECK(moved.frames == std::vector<std::string>{"two"});
  CHECK(ends.client.take(moved.leaving(frame_bytes(1, "back"))).empty());
  CHECK(ends.client.frames == std::vector<std::string>{"back"});
}

TEST_CASE("what was meddled with ends a secured stream") {
  Ends ends{with_key()};
  auto record = ends.client.leaving(frame_bytes(1, "some text"));
  auto next = ends.client.leaving(frame_bytes(2, "other text"));
  SECTION("any byte changed") {
    const auto at =
        GENERATE(0UL, 1UL, 2UL, 3UL, 4UL, 12UL, 28UL, 50UL, 51UL, 52UL, 60UL, 61UL, 76UL);
    record.at(at) ^= std::byte{0x40};
    // A length that grew waits for bytes that are the next record's.
    record.resize(record.size() + (at < 3 ? 100'000 : 0));
    CHECK_FALSE(ends.server.take(record).empty());
  }
  SECTION("a record left out") {
    CHECK(contains(ends.server.take(next), "altered"));
  }
  SECTION("a record repeated") {
    CHECK(ends.server.take(record).empty());
    CHECK(contains(ends.server.take(record), "altered"));
    CHECK(ends.server.frames.size() == 1);
    return;
  }
  SECTION("our own record sent back to us") {
    CHECK(contains(ends.client.take(record), "altered"));
  }
  SECTION("clear text behind the handshake") {
    CHECK(contains(ends.server.take(frame_bytes(1, "some text")), "this is no record"));
  }
  SECTION("a stream that ends inside") {
    CHECK(ends.server.take(std::span{record}.first(60)).empty());
    CHECK(ends.server.stream.end().message == "its stream ended in the middle of a frame");
  }
  CHECK(ends.server.frames.empty());
}

TEST_CASE("one with a key and one without tell each other") {
  const std::string to_do = "give both hosts the same security { psk_file }";
  SECTION("the client has none") {
    Party client{in_clear(), HandshakeSide::client};
    Party server{with_key(), HandshakeSide::server};
    const auto at_server = server.take(client.leaving(frame_bytes(1, "hello")));
    CHECK(contains(at_server, "the peer speaks in clear text, and this host asks for a key"));
    CHECK(contains(at_server, to_do));
    CHECK(client.take(server.stream.take_output()).empty());
    CHECK(contains(client.stream.end().message, "the peer asks for a key, and this host has none"));
  }
  SECTION("the server has none") {
    Party client{with_key(), HandshakeSide::client};
    Party server{in_clear(), HandshakeSide::server};
    const auto at_server = server.take(client.stream.take_output());
    CHECK(contains(at_server, "the peer asks for a key, and this host has none"));
    CHECK(contains(at_server, to_do));
    const auto at_client = client.take(server.stream.take_output());
    CHECK(contains(at_client, "the peer speaks in clear text, and this host asks for a key"));
  }
  SECTION("another key") {
    Party client{with_key(), HandshakeSide::client};
    Party server{key_of('x'), HandshakeSide::server};
    CHECK(contains(server.take(client.stream.take_output()), "its key is not ours"));
    CHECK(contains(client.take(server.stream.take_output()), "it refuses our key"));
  }
}

TEST_CASE("a handshake's chunks are bounded") {
  Party server{with_key(), HandshakeSide::server};
  SECTION("rubbish") {
    CHECK(contains(server.take(noise(1, 100)), "this is no handshake of Understudy: it begins"));
  }
  SECTION("a chunk that is too long") {
    const Bytes chunk{std::byte{1}, std::byte{0x40}, std::byte{0}, std::byte{0xE0}};
    CHECK(contains(server.take(chunk), "this is no handshake"));
  }
  SECTION("an empty chunk") {
    const Bytes chunk{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0xE0}};
    CHECK(contains(server.take(chunk), "this is no handshake"));
  }
  SECTION("a chunk of rubbish") {
    auto chunk = noise(2, 104);
    std::ranges::copy(std::array{std::byte{100}, std::byte{0}, std::byte{0}, std::byte{0xE0}},
                      chunk.begin());
    CHECK(contains(server.take(chunk), "this is no handshake of Understudy"));
  }
  SECTION("a hang-up inside") {
    CHECK(contains(server.stream.end().message, "hung up in the handshake"));
  }
  CHECK(server.frames.empty());
}
