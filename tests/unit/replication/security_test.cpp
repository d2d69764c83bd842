// The key's file, the handshake however it is cut or damaged, and records over several keys.
#include <cstring>
#include <random>

#include <catch2/catch.hpp>

#include "raw_peer.hpp"
#include "shared_key.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

constexpr auto client = HandshakeSide::client;
constexpr auto server = HandshakeSide::server;

std::string load_error(const std::string& path) {
  const auto loaded = Credentials::load(path);
  REQUIRE_FALSE(loaded);
  return loaded.error().message;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Carries what `from` says to `to`, `piece` bytes at a time.
Result<> carry(Handshake& from, Handshake& to, std::size_t piece) {
  const auto bytes = from.take_output();
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    UNDERSTUDY_CHECK(to.on_bytes(std::span{bytes}.subspan(at, std::min(piece, bytes.size() - at))));
  }
  return {};
}

struct Outcome {
  std::unique_ptr<Handshake> a;
  std::unique_ptr<Handshake> b;
  std::string at_client;  ///< errors
  std::string at_server;
};

Outcome shake(std::shared_ptr<const Credentials> a, std::shared_ptr<const Credentials> b,
              std::size_t piece = 100'000) {
  Outcome outcome{Handshake::begin(std::move(a), client).value(),
                  Handshake::begin(std::move(b), server).value(),
                  {},
                  {}};
  for (int turn = 0; turn < 3; ++turn) {
    if (const auto heard = carry(*outcome.a, *outcome.b, piece); !heard)
      outcome.at_server = heard.error().message;
    if (const auto heard = carry(*outcome.b, *outcome.a, piece); !heard)
      outcome.at_client = heard.error().message;
    if (!outcome.at_client.empty()) break;
  }
  return outcome;
}

struct Pair {
  explicit Pair(std::uint64_t records_per_key = limits::records_per_key) {
    TrafficSecret secret;
    secret.fill(std::byte{7});
    sealer = RecordSealer::create(secret, records_per_key).value();
    opener = RecordOpener::create(secret, records_per_key).value();
  }
  std::vector<std::byte> seal(std::uint64_t number, const std::string& text) {
    const auto bytes = std::as_bytes(std::span{text});
    const std::array pieces{bytes.first(bytes.size() / 2), bytes.subspan(bytes.size() / 2)};
    std::vector<std::byte> out(text.size() + RecordSealer::tag_bytes);
    sealer->seal(number, header, pieces, out);
    return out;
  }
  /// What was sealed; nullopt: refused.
  std::optional<std::string> open(std::uint64_t number, std::span<const std::byte> record) {
    if (!opener->begin(number, header)) return std::nullopt;
    const auto sealed = record.first(record.size() - RecordSealer::tag_bytes);
    std::string text(sealed.size(), '\0');
    const auto out = std::as_writable_bytes(std::span{text});
    // In pieces other than those in which it was sealed.
    opener->next(sealed.first(1), out.first(1));
    opener->next(sealed.subspan(1), out.subspan(1));
    if (!opener->finish(record.last<RecordSealer::tag_bytes>())) return std::nullopt;
    return text;
  }

  std::array<std::byte, 4> header{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  std::unique_ptr<RecordSealer> sealer;
  std::unique_ptr<RecordOpener> opener;
};

}  // namespace

TEST_CASE("a key file that is missing, too short, too long or open to others names the remedy") {
  const auto missing = load_error("/nonexistent/key");
  CHECK(contains(missing, "key /nonexistent/key: there is no such file"));
  CHECK(
      contains(missing, "head -c 32 /dev/urandom > /nonexistent/key; chmod 600 /nonexistent/key"));
  const KeyFile small{std::string(31, 'x')};
  CHECK(contains(load_error(small.path()), "holds 31 bytes, and 32 are the least"));
  const KeyFile large{std::string(limits::shared_key_bytes_max + 1, 'x')};
  CHECK(contains(load_error(large.path()), "larger than 4096 bytes"));
  for (const auto mode : {0640, 0604, 0620, 0602, 0777}) {
    const KeyFile open{std::string(32, 'x'), static_cast<::mode_t>(mode)};
    CHECK(contains(load_error(open.path()), "chmod 600 " + open.path()));
  }
  CHECK(contains(load_error("/tmp"), "key /tmp: is no file"));
  const KeyFile largest{std::string(limits::shared_key_bytes_max, 'x'), 0400};
  CHECK(Credentials::load(largest.path()));
}

TEST_CASE("two with the same key agree on secrets, however their words are cut") {
  const auto piece = GENERATE(1UL, 2UL, 7UL, 100'000UL);
  auto outcome = shake(key_of('k'), key_of('k'), piece);
  CHECK(outcome.at_client.empty());
  CHECK(outcome.at_server.empty());
  REQUIRE(outcome.a->done());
  REQUIRE(outcome.b->done());
  const auto a = outcome.a->keys().value();
  const auto b = outcome.b->keys().value();
  CHECK(a.ours == b.theirs);
  CHECK(a.theirs == b.ours);
  CHECK(a.ours != a.theirs);
  // Fresh each time: the shared key alone tells nothing of a session.
  auto again = shake(key_of('k'), key_of('k'));
  CHECK(again.a->keys().value().ours != a.ours);
  // After its end it takes nothing more.
  CHECK_FALSE(outcome.b->on_bytes(noise(1, 10)));
}

TEST_CASE("another key is refused, and both sides say what to do") {
  const auto outcome = shake(key_of('k'), key_of('l'));
  CHECK_FALSE(outcome.a->done());
  CHECK_FALSE(outcome.b->done());
  CHECK(contains(outcome.at_server, "its key is not ours; give both hosts the same key"));
  CHECK(contains(outcome.at_client, "it refuses our key; give both hosts the same key"));
}

TEST_CASE("an echo of our own words is no peer") {
  const auto a = Handshake::begin(key_of('k'), client).value();
  const auto words = a->take_output();
  CHECK_FALSE(a->on_bytes(words));
}

TEST_CASE("a handshake that was recorded is of no use later") {
  const auto key = key_of('k');
  const auto a = Handshake::begin(key, client).value();
  const auto b = Handshake::begin(key, server).value();
  const auto hello = a->take_output();
  REQUIRE(b->on_bytes(hello));
  REQUIRE(carry(*b, *a, 100'000));
  const auto finished = a->take_output();
  const auto later = Handshake::begin(key, server).value();
  CHECK(later->on_bytes(hello));
  CHECK_FALSE(later->on_bytes(finished));
  CHECK_FALSE(later->done());
}

TEST_CASE("garbage and endless handshakes are refused, truncated ones wait") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const auto side = seed % 2 == 0 ? client : server;
    const auto handshake = Handshake::begin(key_of('k'), side).value();
    CHECK_FALSE(handshake->on_bytes(noise(seed, limits::handshake_bytes + 1)));
    CHECK_FALSE(handshake->on_bytes(noise(seed, 1)));
    CHECK_FALSE(handshake->done());
    // Less of it may look like the beginning of something.
    const auto patient = Handshake::begin(key_of('k'), side).value();
    static_cast<void>(patient->on_bytes(noise(seed, 500)));
    CHECK_FALSE(patient->done());
  }
  const auto a = Handshake::begin(key_of('k'), client).value();
  const auto b = Handshake::begin(key_of('k'), server).value();
  const auto hello = a->take_output();
  REQUIRE(b->on_bytes(std::span{hello}.first(hello.size() - 1)));
  CHECK_FALSE(b->done());
  CHECK(b->take_output().empty());
  // A TLS record of the greatest length, which never comes to its end.
  std::vector<std::byte> endless(limits::handshake_bytes + 1);
  endless[0] = std::byte{0x16};
  endless[1] = std::byte{3};
  endless[2] = std::byte{1};
  endless[3] = std::byte{0x40};
  CHECK_FALSE(Handshake::begin(key_of('k'), server).value()->on_bytes(endless));
}

TEST_CASE("a handshake that is damaged anywhere is not done") {
  const auto key = key_of('k');
  std::mt19937_64 random{3};
  for (int round = 0; round < 300; ++round) {
    const auto a = Handshake::begin(key, client).value();
    const auto b = Handshake::begin(key, server).value();
    const auto victim = round % 3;  // which flight
    bool harmed = false;
    const auto bring = [&](Handshake& from, Handshake& to, int flight) {
      auto bytes = from.take_output();
      if (flight == victim && !bytes.empty()) {
        // Behind the TLS record's header, whose version nobody looks at.
        bytes.at(5 + random() % (bytes.size() - 5)) ^= static_cast<std::byte>(1U << (random() % 8));
        harmed = true;
      }
      return to.on_bytes(bytes).has_value();
    };
    const bool whole = bring(*a, *b, 0) && bring(*b, *a, 1) && bring(*a, *b, 2);
    REQUIRE(harmed);
    CHECK_FALSE((whole && a->done() && b->done()));
  }
}

TEST_CASE("records open under their number and header, and no other") {
  Pair pair;
  const auto first = pair.seal(0, "first record");
  const auto second = pair.seal(1, "second record");
  CHECK(std::memcmp(first.data(), "first", 5) != 0);
  SECTION("as they were sealed") {
    CHECK(pair.open(0, first) == "first record");
    CHECK(pair.open(1, second) == "second record");
  }
  SECTION("swapped numbers") {
    CHECK_FALSE(pair.open(1, first));
    CHECK_FALSE(pair.open(0, second));
    CHECK(pair.open(0, first) == "first record");
  }
  SECTION("any bit changed") {
    for (std::size_t bit = 0; bit < 8 * first.size(); ++bit) {
      auto forged = first;
      forged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      CHECK_FALSE(pair.open(0, forged));
    }
    CHECK(pair.open(0, first) == "first record");
  }
  SECTION("another header") {
    pair.header[2] ^= std::byte{1};
    CHECK_FALSE(pair.open(0, first));
  }
  SECTION("another direction's secret") {
    TrafficSecret other;
    other.fill(std::byte{8});
    pair.opener = RecordOpener::create(other).value();
    CHECK_FALSE(pair.open(0, first));
  }
}

TEST_CASE("keys rotate by number, and the one before the newest is kept") {
  Pair pair{4};
  std::vector<std::vector<std::byte>> records;
  for (std::uint64_t number = 0; number < 40; ++number) {
    records.push_back(pair.seal(number, fmt::format("record {}", number)));
  }
  const auto good = [&](std::uint64_t number) {
    return pair.open(number, records[number]) == fmt::format("record {}", number);
  };
  SECTION("in order") {
    for (std::uint64_t number = 0; number < 40; ++number) CHECK(good(number));
  }
  SECTION("late ones of the key before") {
    CHECK(good(0));
    CHECK(good(5));
    CHECK(good(1));
    CHECK(good(9));
    CHECK(good(6));
    CHECK_FALSE(good(2));  // two keys ago
    CHECK(good(4));
  }
  SECTION("a whole key left out cannot be told from a forgery") {
    CHECK(good(3));
    CHECK_FALSE(good(8));
    CHECK(good(7));
    CHECK(good(8));
  }
  SECTION("a forger cannot turn the ratchet") {
    CHECK(good(0));
    for (const auto number : {4UL, 5UL, 6UL, 7UL}) {
      auto forged = records[number];
      forged.back() ^= std::byte{1};
      CHECK_FALSE(pair.open(number, forged));
      CHECK_FALSE(pair.open(number + 4, forged));
    }
    CHECK_FALSE(pair.open(~std::uint64_t{0}, records[1]));
    CHECK(good(1));
    CHECK(good(4));
    CHECK(good(2));
    CHECK(good(8));
  }
}
