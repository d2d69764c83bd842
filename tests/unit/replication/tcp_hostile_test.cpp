// Peers that do not speak as agreed, against both ends. The genuine session goes on.
#include <future>
#include <thread>

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "machine_frames.hpp"
#include "raw_peer.hpp"
#include "replication/greeting.hpp"
#include "shared_key.hpp"

using namespace understudy;
using namespace understudy::replication;
using boost::asio::ip::tcp;

namespace {

using Key = RawPeer::Key;

struct Backup {
  explicit Backup(const Key& key = {}) {
    auto listening =
        ReplicationServer::listen({"127.0.0.1", 0}, "c1", "b",
                                  [this](const Offer& /*offer*/, const std::string& /*from*/) {
                                    return Result<std::shared_ptr<ReplicaEvents>>{replica};
                                  },
                                  {tcp_transport(key)});
    REQUIRE(listening);
    server = std::move(*listening);
  }
  std::shared_ptr<FakeReplica> replica = std::make_shared<FakeReplica>();
  std::unique_ptr<ReplicationServer> server;
};

/// A primary written by hand, whose session number is known: 5.
struct RawSession {
  explicit RawSession(const Key& with)
      : key{with}, backup{key}, peer{backup.server->endpoint(), key} {
    const auto offer = offer_of("pg");
    peer.say(hello_frame(5, make_hello({"c1", "a", "b", {}}, &offer)));
    REQUIRE(peer.answer().accepted());
    peer.say(make_frame(FrameType::pages, 5, 1, 1, "page"));
    peer.say(make_frame(FrameType::seal, 5, 2, 1, seal_of(1).SerializeAsString()));
    const auto commit = peer.hear();
    REQUIRE(commit);
    REQUIRE(commit->header.type == FrameType::commit);
  }
  /// Comes again, and is told where to go on.
  HelloReply resume() {
    RawPeer again{backup.server->endpoint(), key};
    again.say(hello_frame(5, make_hello({"c1", "a", "b", {}}, nullptr)));
    return again.answer();
  }

  Key key;
  Backup backup;
  RawPeer peer;
};

}  // namespace

TEST_CASE("strangers do not disturb a running session") {
  const auto key = GENERATE(in_clear(), with_key());
  Backup backup{key};
  FakePrimary primary;
  const auto at = backup.server->endpoint();
  const auto sender = CheckpointSender::open({"c1", "a", "b", at, tcp_transport(key)},
                                             offer_of("pg"), seconds{10}, primary.events());
  REQUIRE(sender);
  send_epoch(**sender, 1, 3);
  REQUIRE(primary.wait_committed(1));
  const auto offer = offer_of("pg");
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    RawPeer rubbish{at};
    rubbish.say(noise(seed, 1000 * seed));
    CHECK(rubbish.hung_up_on());
  }
  {
    RawPeer other_version{at};
    auto bytes = encode_header({.type = FrameType::hello, .session = SessionId{1}}, {});
    bytes[4] = std::byte{99};
    other_version.say(bytes);
    CHECK(other_version.hung_up_on());
    RawPeer no_hello{at};
    no_hello.say(make_frame(FrameType::pages, 1, 1, 1, "x"));
    CHECK(no_hello.hung_up_on());
    RawPeer truncated{at};
    truncated.say(std::span{bytes}.first(20));
    truncated.hang_up_writing();
    CHECK(truncated.hung_up_on());
  }
  const auto refused = [&](std::uint64_t id, const Hello& hello) {
    RawPeer stranger{at, key};
    stranger.say(hello_frame(id, hello));
    const auto answer = stranger.answer();
    CHECK(stranger.hung_up_on());
    return !answer.accepted() && answer.refusal_size() > 0;
  };
  CHECK(refused(12345, make_hello({"c1", "a", "b", {}}, nullptr)));
  CHECK(refused(12345, make_hello({"c2", "a", "b", {}}, nullptr)));
  CHECK(refused(12345, make_hello({"c1", "a", "c", {}}, nullptr)));
  CHECK(refused(12345, make_hello({"c1", "z", "b", {}}, &offer)));
  CHECK(refused(0, make_hello({"c1", "a", "b", {}}, &offer)));
  send_epoch(**sender, 2, 3);
  CHECK(primary.wait_committed(2));
  CHECK(backup.replica->ends().empty());
  CHECK((*sender)->status().resent_frames == 0);
}

TEST_CASE("silent connections are bounded and do not keep others out for long") {
  Backup backup;
  const auto at = backup.server->endpoint();
  std::vector<std::unique_ptr<RawPeer>> silent;
  for (std::size_t i = 0; i < limits::greeting_connections; ++i) {
    silent.push_back(std::make_unique<RawPeer>(at));
  }
  for (auto& peer : silent) CHECK(peer->hung_up_on());
  FakePrimary primary;
  CHECK(
      CheckpointSender::open({"c1", "a", "b", at}, offer_of("pg"), seconds{10}, primary.events()));
}

TEST_CASE("rubbish in a session cuts its link; the primary resumes where it was") {
  RawSession session{GENERATE(in_clear(), with_key())};
  auto& peer = session.peer;
  const auto page = make_frame(FrameType::pages, 5, 3, 2, "page");
  auto header = encode_header(page.header, page.payload);
  SECTION("noise") {
    peer.say(noise(1, 5000));
  }
  SECTION("another version") {
    header[4] = std::byte{2};
    peer.say_frame(header, page.payload);
  }
  SECTION("a length over the limit") {
    header[11] = std::byte{0xFF};
    peer.say_frame(header, page.payload);
  }
  SECTION("a checksum that does not hold") {
    header[40] ^= std::byte{1};
    peer.say_frame(header, page.payload);
  }
  SECTION("a truncated stream") {
    peer.say(header);
    peer.hang_up_writing();
  }
  SECTION("a frame left out") {
    peer.say(make_frame(FrameType::pages, 5, 4, 2, "page"));
  }
  SECTION("a frame of another session") {
    peer.say(make_frame(FrameType::pages, 6, 3, 2, "x"));
  }
  SECTION("a frame that only a backup sends") {
    peer.say(make_frame(FrameType::commit, 5, 0, 9));
  }
  CHECK(peer.hung_up_on());
  const auto answer = session.resume();
  CHECK(answer.accepted());
  CHECK(answer.next_sequence() == 3);
  CHECK(answer.committed_epoch() == 1);
  CHECK(session.backup.replica->epochs() == std::vector<std::string>{"page"});
  CHECK(session.backup.replica->ends().empty());
}

TEST_CASE("a lie under a good checksum ends the session and keeps the last commit") {
  RawSession session{GENERATE(in_clear(), with_key())};
  auto& peer = session.peer;
  auto seal = seal_of(1);
  SECTION("a seal that counts other frames") {
    seal.set_frames(7);
  }
  SECTION("a device state over the limit") {
    seal.set_device_bytes(~std::uint64_t{0});
  }
  SECTION("a RAM block larger than offered") {
    seal.set_used_bytes(0, 1U << 30U);
  }
  SECTION("a seal that the replica refuses") {
    seal.set_pages(FakeReplica::bad_pages);
  }
  peer.say(make_frame(FrameType::pages, 5, 3, 2, "page"));
  peer.say(make_frame(FrameType::seal, 5, 4, 2, seal.SerializeAsString()));
  const auto last = peer.hear();
  REQUIRE(last);
  CHECK(last->header.type == FrameType::bye);
  CHECK(session.backup.replica->wait_end());
  CHECK(session.backup.replica->epochs() == std::vector<std::string>{"page"});
  CHECK_FALSE(session.resume().accepted());
}

TEST_CASE("a resume from another host is refused, even with the right number") {
  RawSession session{GENERATE(in_clear(), with_key())};
  RawPeer stranger{session.backup.server->endpoint(), session.key};
  stranger.say(hello_frame(5, make_hello({"c1", "z", "b", {}}, nullptr)));
  CHECK_FALSE(stranger.answer().accepted());
  session.peer.say(make_frame(FrameType::ping, 5, 0, 0));
  CHECK(session.peer.hear()->header.type == FrameType::pong);
}

namespace {

/// A backup written by hand; the genuine sender speaks to it.
struct RawBackup {
  explicit RawBackup(Key with) : key{std::move(with)} {
    const Endpoint at{"127.0.0.1", acceptor.local_endpoint().port()};
    auto opening = std::async(std::launch::async, [this, at] {
      return CheckpointSender::open({"c1", "a", "b", at, tcp_transport(key)}, offer_of("pg"),
                                    seconds{10}, primary.events());
    });
    welcome(1, 0);
    auto opened = opening.get();
    REQUIRE(opened);
    sender = std::move(*opened);
  }
  void welcome(std::uint64_t next, std::uint64_t committed) {
    peer = std::make_unique<RawPeer>(acceptor, io, key);
    const auto hello = peer->hear();
    REQUIRE(hello);
    id = hello->header.session.value();
    HelloReply reply;
    reply.set_accepted(true);
    reply.set_next_sequence(next);
    reply.set_committed_epoch(committed);
    peer->say(make_frame(FrameType::hello_reply, id, 0, 0, reply.SerializeAsString()));
  }
  void hear_epoch(std::size_t frames) {
    for (std::size_t heard = 0; heard <= frames;) {
      const auto frame = peer->hear();
      REQUIRE(frame);
      heard += sequenced(frame->header.type) ? 1 : 0;
    }
  }

  Key key;
  FakePrimary primary;
  std::shared_ptr<boost::asio::io_context> io = std::make_shared<boost::asio::io_context>();
  tcp::acceptor acceptor{*io, {boost::asio::ip::make_address_v4("127.0.0.1"), 0}};
  std::unique_ptr<RawPeer> peer;
  std::uint64_t id{};
  std::unique_ptr<CheckpointSender> sender;
};

}  // namespace

TEST_CASE("a backup that claims what it cannot hold is cut off, and nothing is released") {
  RawBackup backup{GENERATE(in_clear(), with_key())};
  send_epoch(*backup.sender, 1, 2);
  backup.hear_epoch(2);
  SECTION("an epoch beyond the sealed") {
    backup.peer->say(make_frame(FrameType::commit, backup.id, 3, 2));
  }
  SECTION("an epoch without its seal") {
    backup.peer->say(make_frame(FrameType::commit, backup.id, 2, 1));
  }
  SECTION("frames that were never sent") {
    backup.peer->say(make_frame(FrameType::ack, backup.id, 4, 0));
  }
  SECTION("noise") {
    backup.peer->say(noise(3, 1000));
  }
  SECTION("pages") {
    backup.peer->say(make_frame(FrameType::pages, backup.id, 1, 1, "x"));
  }
  REQUIRE(backup.primary.wait_downs(1));
  CHECK(backup.primary.committed() == Epoch{});
  // It comes to its senses: the session goes on.
  backup.welcome(3, 0);
  REQUIRE(backup.primary.wait_ups(1));
  backup.hear_epoch(0);
  backup.peer->say(make_frame(FrameType::commit, backup.id, 3, 1));
  CHECK(backup.primary.wait_committed(1));
}

TEST_CASE("a backup that has forgotten frames it had acknowledged is given up") {
  RawBackup backup{GENERATE(in_clear(), with_key())};
  send_epoch(*backup.sender, 1, 2);
  backup.hear_epoch(2);
  backup.peer->say(make_frame(FrameType::commit, backup.id, 3, 1));
  REQUIRE(backup.primary.wait_committed(1));
  backup.peer.reset();
  backup.welcome(1, 0);
  REQUIRE(backup.primary.wait_lost());
  CHECK(backup.primary.lost()->message.find("lost frames") != std::string::npos);
}
