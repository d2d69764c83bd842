// Every connection that a backup refuses leaves one line that says who and why.
#include <optional>

#include <catch2/catch.hpp>

#include "captured_log.hpp"
#include "config/log.hpp"
#include "fakes.hpp"
#include "raw_peer.hpp"
#include "replication/greeting.hpp"
#include "shared_key.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

struct Refuser {
  explicit Refuser(const RawPeer::Key& key = {}) {
    auto listening =
        ReplicationServer::listen({"127.0.0.1", 0}, "c1", "b",
                                  [](const Offer& /*offer*/, const std::string& /*from*/) {
                                    return Result<std::shared_ptr<ReplicaEvents>>{
                                        fail(ErrorKind::incompatible, "another machine")};
                                  },
                                  {tcp_transport(key)});
    REQUIRE(listening);
    server = std::move(*listening);
  }
  [[nodiscard]] Endpoint at() const { return server->endpoint(); }
  std::unique_ptr<ReplicationServer> server;
};

HeaderBytes hello_header() {
  return encode_header({.type = FrameType::hello, .session = SessionId{1}}, {});
}

std::string refusal_line(const RawPeer& peer, const std::string& why) {
  return fmt::format("replication.refused from=127.0.0.1:{} why=\"{}", peer.port(), why);
}

}  // namespace

TEST_CASE("a refused connection is named in the log with the reason") {
  CapturedLog log;
  const Refuser backup;
  RawPeer peer{backup.at()};
  auto header = hello_header();
  std::string why;
  SECTION("rubbish") {
    peer.say(noise(1, 1000));
    why = "this is no replication frame: magic";
  }
  SECTION("another version") {
    header[4] = std::byte{99};
    peer.say(header);
    why = "the peer speaks version 99 of the replication protocol";
  }
  SECTION("a length over the limit") {
    header[11] = std::byte{0xFF};
    peer.say(header);
    why = "a hello frame of 4278190080 bytes, at most 60368 are allowed";
  }
  SECTION("a truncated hello") {
    peer.say(std::span{header}.first(20));
    peer.hang_up_writing();
    why = "its stream ended in the middle of a frame (20 bytes came)";
  }
  SECTION("a truncated hello, and then silence") {
    peer.say(std::span{header}.first(20));
    why = "20 bytes of a hello came, and not the rest within 3 s";
  }
  SECTION("silence") {
    why = "it said nothing within 3 s";
  }
  SECTION("no hello") {
    peer.say(make_frame(FrameType::pages, 1, 1, 1, "x"));
    why = "a pages frame is not expected here";
  }
  SECTION("a hello whose contents are damaged") {
    peer.say(make_frame(FrameType::hello, 1, 0, 0, "\xff\xff\xff"));
    why = "the contents of a hello frame are damaged";
  }
  SECTION("another cluster") {
    peer.say(hello_frame(1, make_hello({"c2", "a", "b", {}}, nullptr)));
    why = "this host belongs to cluster 'c1', not to 'c2'";
  }
  SECTION("another host") {
    peer.say(hello_frame(1, make_hello({"c1", "a", "x", {}}, nullptr)));
    why = "this is host 'b', not 'x'";
  }
  CHECK(peer.hung_up_on());
  const auto expected = refusal_line(peer, why);
  CHECK(log.next("replication.refused").substr(0, expected.size()) == expected);
}

TEST_CASE("an offer that is refused is in the log, too") {
  CapturedLog log;
  const Refuser backup;
  RawPeer peer{backup.at()};
  const auto offer = offer_of("pg");
  peer.say(hello_frame(1, make_hello({"c1", "a", "b", {}}, &offer)));
  CHECK_FALSE(peer.answer().accepted());
  CHECK(log.next("replication.refused") ==
        "replication.refused from=\"host a\" why=\"another machine\"");
}

TEST_CASE("a look at the port is no refusal") {
  CapturedLog log;
  log::configure(log::Level::debug, "");
  const Refuser backup;
  std::uint16_t port{};
  {
    const RawPeer look{backup.at()};
    port = look.port();
  }
  CHECK(log.next("replication.") == fmt::format("replication.probed from=127.0.0.1:{}", port));
  log::configure(log::Level::info, "");
}

TEST_CASE("a flood of refusals is counted, not written") {
  CapturedLog log;
  const Refuser backup;
  constexpr std::uint64_t attempts = 200;
  const auto begin = now();
  for (std::uint64_t i = 0; i < attempts; ++i) {
    RawPeer peer{backup.at()};
    peer.say(noise(i, 100));
    CHECK(peer.hung_up_on());
  }
  std::uint64_t written = 0;
  std::uint64_t suppressed = 0;
  const std::string count = "suppressed=";
  while (written + suppressed < attempts) {
    const auto line = log.next("replication.refused");
    REQUIRE_FALSE(line.empty());
    if (const auto at = line.find(count); at != std::string::npos) {
      suppressed += std::stoull(line.substr(at + count.size()));
    } else {
      ++written;
    }
  }
  CHECK(written + suppressed == attempts);
  const auto periods = static_cast<std::uint64_t>((now() - begin) / limits::refusal_period) + 1;
  CHECK(written <= periods * limits::refusal_lines);
}

TEST_CASE("a host that asks for a key names what came instead") {
  CapturedLog log;
  const Refuser backup{with_key()};
  std::optional<RawPeer> peer;
  std::string why;
  SECTION("rubbish") {
    peer.emplace(backup.at());
    peer->say(noise(1, 1000));
    why = "this is no handshake of Understudy: it begins";
  }
  SECTION("a hello in clear text") {
    peer.emplace(backup.at());
    peer->say(hello_frame(1, make_hello({"c1", "a", "b", {}}, nullptr)));
    why = "the peer speaks in clear text, and this host asks for a key; give both hosts the same";
  }
  SECTION("another key") {
    peer.emplace(backup.at(), key_of('x'));
    why = "its key is not ours; give both hosts the same key";
  }
  SECTION("half a handshake") {
    peer.emplace(backup.at());
    peer->say(std::array{std::byte{200}, std::byte{0}, std::byte{0}, std::byte{0xE0}});
    peer->hang_up_writing();
    why = "the peer hung up in the handshake";
  }
  SECTION("half a handshake, and then silence") {
    peer.emplace(backup.at());
    peer->say(std::array{std::byte{200}, std::byte{0}, std::byte{0}, std::byte{0xE0}});
    why = "4 bytes of a hello came, and not the rest within 3 s";
  }
  SECTION("the key, and then no hello") {
    peer.emplace(backup.at(), with_key());
    peer->say(make_frame(FrameType::pages, 1, 1, 1, "x"));
    why = "a pages frame is not expected here";
  }
  SECTION("the key, and another cluster") {
    peer.emplace(backup.at(), with_key());
    peer->say(hello_frame(1, make_hello({"c2", "a", "b", {}}, nullptr)));
    why = "this host belongs to cluster 'c1', not to 'c2'";
  }
  CHECK(peer->hung_up_on());
  const auto expected = refusal_line(*peer, why);
  CHECK(log.next("replication.refused").substr(0, expected.size()) == expected);
}

TEST_CASE("a host without a key says so to a peer that has one") {
  CapturedLog log;
  const Refuser backup;
  RawPeer peer{backup.at(), with_key()};
  CHECK(peer.hung_up_on());
  const auto expected = refusal_line(peer, "the peer asks for a key, and this host has none");
  CHECK(log.next("replication.refused").substr(0, expected.size()) == expected);
}
