#include "replication/sender_machine.hpp"

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "machine_frames.hpp"

using namespace understudy;
using namespace understudy::replication;
using Phase = SenderMachine::Phase;
using Due = SenderMachine::Due;

namespace {

const TimePoint start{seconds{1000}};

struct Sender {
  std::unique_ptr<FramePool> pool = std::move(FramePool::create(64).value());
  SenderMachine machine{SessionId{test_session}};

  Result<SenderMachine::Outcome> hear(const TestFrame& frame, TimePoint at = start) {
    return machine.on_frame(frame.header, frame.payload, at);
  }
  Result<SenderMachine::Outcome> welcome(std::uint64_t next, std::uint64_t committed) {
    HelloReply reply;
    reply.set_accepted(true);
    reply.set_next_sequence(next);
    reply.set_committed_epoch(committed);
    return hear(make_frame(FrameType::hello_reply, test_session, 0, 0, reply.SerializeAsString()));
  }
  void open() {
    machine.on_connected(start);
    REQUIRE(welcome(1, 0));
    REQUIRE(machine.phase() == Phase::running);
  }
  void submit(FrameType type, std::uint64_t epoch, const std::string& text = "x") {
    auto buffer = pool->acquire({});
    REQUIRE(buffer);
    fill(*buffer, text);
    machine.submit(std::move(*buffer), type, Epoch{epoch});
  }
  std::vector<std::uint64_t> take_all() {
    std::vector<std::uint64_t> sequences;
    while (const auto frame = machine.next()) {
      sequences.push_back(as_frame(*frame).header.sequence.value());
      machine.taken(start);
    }
    return sequences;
  }
};

using Numbers = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("frames are numbered, sent once, and kept until they are held") {
  Sender sender;
  sender.submit(FrameType::pages, 1, "early");
  CHECK_FALSE(sender.machine.next());
  sender.open();
  sender.submit(FrameType::seal, 1);
  CHECK(sender.take_all() == Numbers{1, 2});
  CHECK_FALSE(sender.machine.next());
  CHECK(sender.pool->in_use() == 2);
  CHECK(sender.hear(make_frame(FrameType::ack, test_session, 1, 0)));
  CHECK(sender.pool->in_use() == 1);
  const auto commit = sender.hear(make_frame(FrameType::commit, test_session, 2, 1));
  REQUIRE(commit);
  CHECK(commit->committed == Epoch{1});
  CHECK(sender.pool->in_use() == 0);
}

TEST_CASE("a backup that does not know input is sent none, and nobody is before the welcome") {
  Sender sender;
  HelloReply reply;
  reply.set_accepted(true);
  reply.set_next_sequence(1);
  const bool knows = GENERATE(false, true);
  reply.set_takes_input(knows);
  sender.machine.on_connected(start);
  CHECK_FALSE(sender.machine.takes_input());
  REQUIRE(sender.hear(
      make_frame(FrameType::hello_reply, test_session, 0, 0, reply.SerializeAsString())));
  CHECK(sender.machine.takes_input() == knows);
  sender.machine.on_down();
  CHECK_FALSE(sender.machine.takes_input());
}

TEST_CASE("a backup's claims beyond what was sent are errors") {
  Sender sender;
  sender.open();
  sender.submit(FrameType::pages, 1);
  sender.submit(FrameType::seal, 1);
  sender.submit(FrameType::pages, 2);
  sender.machine.taken(start);
  SECTION("an ack of a frame that no link has taken") {
    CHECK_FALSE(sender.hear(make_frame(FrameType::ack, test_session, 2, 0)));
  }
  SECTION("a commit of an epoch whose seal has not left") {
    CHECK_FALSE(sender.hear(make_frame(FrameType::commit, test_session, 1, 1)));
  }
  SECTION("a commit of an epoch whose seal it does not hold") {
    sender.take_all();
    CHECK_FALSE(sender.hear(make_frame(FrameType::commit, test_session, 1, 1)));
  }
  SECTION("a commit of an epoch that is not sealed") {
    sender.take_all();
    CHECK_FALSE(sender.hear(make_frame(FrameType::commit, test_session, 3, 2)));
  }
  SECTION("the largest numbers") {
    CHECK_FALSE(sender.hear(make_frame(FrameType::commit, test_session, ~0ULL, ~0ULL)));
  }
  CHECK(sender.machine.committed() == Epoch{});
}

TEST_CASE("commits never go back") {
  Sender sender;
  sender.open();
  for (std::uint64_t epoch = 1; epoch <= 3; ++epoch) sender.submit(FrameType::seal, epoch);
  sender.take_all();
  CHECK(sender.hear(make_frame(FrameType::commit, test_session, 3, 3))->committed == Epoch{3});
  const auto stale = sender.hear(make_frame(FrameType::commit, test_session, 2, 2));
  REQUIRE(stale);
  CHECK_FALSE(stale->committed);
  CHECK(sender.machine.committed() == Epoch{3});
}

TEST_CASE("after a new connection the frames that the backup lacks are sent again") {
  Sender sender;
  sender.open();
  for (int i = 0; i < 5; ++i) sender.submit(FrameType::pages, 1);
  sender.submit(FrameType::seal, 1);
  sender.take_all();
  CHECK(sender.hear(make_frame(FrameType::ack, test_session, 2, 0)));
  sender.machine.on_down();
  CHECK_FALSE(sender.machine.next());
  sender.submit(FrameType::pages, 2);
  sender.machine.on_connected(start);
  CHECK_FALSE(sender.machine.next());
  SECTION("some") {
    const auto resumed = sender.welcome(5, 0);
    REQUIRE(resumed);
    CHECK(resumed->welcomed);
    CHECK(sender.take_all() == Numbers{5, 6, 7});
    CHECK(sender.machine.resent() == 2);
  }
  SECTION("none, and the commit was lost with the link") {
    CHECK(sender.welcome(7, 1)->committed == Epoch{1});
    CHECK(sender.take_all() == Numbers{7});
  }
  SECTION("a backup that has forgotten what it held is lost") {
    CHECK(sender.welcome(2, 0)->over);
  }
  SECTION("a backup that holds a frame which was never sent is an error") {
    CHECK_FALSE(sender.welcome(8, 0));
  }
  SECTION("a backup that holds an epoch which was never sealed is an error") {
    CHECK_FALSE(sender.welcome(7, 2));
  }
  SECTION("a backup that holds an epoch without its seal is an error") {
    CHECK_FALSE(sender.welcome(6, 1));
  }
}

TEST_CASE("a refusal and a goodbye are the end") {
  Sender sender;
  sender.machine.on_connected(start);
  HelloReply refusal;
  refusal.add_refusal("one");
  refusal.add_refusal("two");
  const auto refused = sender.hear(
      make_frame(FrameType::hello_reply, test_session, 0, 0, refusal.SerializeAsString()));
  REQUIRE(refused);
  CHECK(refused->over->message == "one\ntwo");
  CHECK(refused->over->kind == ErrorKind::incompatible);
  const auto bye = encode_bye(SessionId{test_session}, "promoted");
  CHECK(sender.hear(as_frame(bye))->over->kind == ErrorKind::closed);
}

TEST_CASE("what a backup may not send is an error") {
  Sender sender;
  sender.machine.on_connected(start);
  CHECK_FALSE(sender.hear(make_frame(FrameType::ack, test_session, 0, 0)));
  CHECK_FALSE(sender.hear(make_frame(FrameType::hello_reply, test_session, 0, 0, "\xff\xff")));
  REQUIRE(sender.welcome(1, 0));
  CHECK_FALSE(sender.welcome(1, 0));
  for (const auto type : {FrameType::hello, FrameType::pages, FrameType::seal}) {
    CHECK_FALSE(sender.hear(make_frame(type, test_session, 1, 1)));
  }
  CHECK_FALSE(sender.hear(make_frame(FrameType::pong, test_session + 1, 0, 0)));
  CHECK(sender.hear(make_frame(FrameType::pong, test_session, 0, 0)));
  CHECK(sender.hear(make_frame(FrameType::ping, test_session, 0, 0))->ping);
}

TEST_CASE("an idle link is pinged, and a silent one is down") {
  Sender sender;
  CHECK(sender.machine.due(start + limits::link_silence) == Due::nothing);
  sender.open();
  auto at = start;
  CHECK(sender.machine.due(at) == Due::nothing);
  at += limits::link_keepalive;
  REQUIRE(sender.machine.due(at) == Due::ping);
  sender.machine.pinged(at);
  CHECK(sender.machine.due(at) == Due::nothing);
  CHECK(sender.hear(make_frame(FrameType::pong, test_session, 0, 0), at));
  CHECK(sender.machine.due(at + limits::link_silence - milliseconds{1}) == Due::ping);
  CHECK(sender.machine.due(at + limits::link_silence) == Due::silent);
}

TEST_CASE("a busy link that hears nothing asks, too") {
  Sender sender;
  sender.open();
  sender.submit(FrameType::pages, 1);
  const auto at = start + limits::link_keepalive;
  sender.machine.taken(at);
  CHECK(sender.machine.due(at) == Due::ping);
}

TEST_CASE("the first answer may take its time, a resumed one may not") {
  Sender sender;
  sender.machine.on_connected(start);
  CHECK(sender.machine.due(start + seconds{60}) == Due::nothing);
  REQUIRE(sender.welcome(1, 0));
  sender.machine.on_down();
  sender.machine.on_connected(start);
  CHECK(sender.machine.due(start + limits::link_silence) == Due::silent);
}
