#include "replication/receiver_machine.hpp"

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "machine_frames.hpp"

using namespace understudy;
using namespace understudy::replication;
using Machine = ReceiverMachine;

namespace {

struct Receiver {
  std::vector<std::byte> staging = std::vector<std::byte>(4096);
  Machine machine{SessionId{test_session}, {1U << 20U}, staging};
  std::uint64_t sequence{};

  Result<Machine::Delivery> give(FrameType type, std::uint64_t epoch, const std::string& payload) {
    return deliver(machine, make_frame(type, test_session, ++sequence, epoch, payload));
  }
  Result<Machine::Delivery> seal(std::uint64_t epoch, const Seal& seal) {
    return give(FrameType::seal, epoch, seal.SerializeAsString());
  }
  void whole_epoch(std::uint64_t epoch) {
    CHECK(is<Machine::Pages>(give(FrameType::pages, epoch, "page")));
    CHECK(is<Machine::Sealed>(seal(epoch, seal_of(1))));
    static_cast<void>(machine.commit());
    machine.applied();
  }

  template <class What>
  static bool is(const Result<Machine::Delivery>& delivery) {
    return delivery && std::holds_alternative<What>(*delivery);
  }
};

bool violated(const Result<Machine::Delivery>& delivery) {
  return Receiver::is<Machine::Violation>(delivery);
}

}  // namespace

TEST_CASE("an epoch is staged where its payloads were read to, and committed whole") {
  Receiver receiver;
  CHECK(Receiver::is<Machine::SyncPages>(receiver.give(FrameType::sync_pages, 0, "sync")));
  CHECK(Receiver::is<Machine::Pages>(receiver.give(FrameType::pages, 1, "one")));
  CHECK(Receiver::is<Machine::Pages>(receiver.give(FrameType::pages, 1, "two")));
  REQUIRE(Receiver::is<Machine::Sealed>(receiver.seal(1, seal_of(2))));
  const auto& staged = receiver.machine.staged();
  CHECK(staged.epoch == Epoch{1});
  REQUIRE(staged.payloads.size() == 2);
  CHECK(staged.payloads[0].data() == receiver.staging.data());
  CHECK(text_of(staged.payloads[0]) + text_of(staged.payloads[1]) == "onetwo");
  const auto commit = as_frame(receiver.machine.commit());
  CHECK(commit.header.type == FrameType::commit);
  CHECK(commit.header.epoch == Epoch{1});
  CHECK(commit.header.sequence == Sequence{4});
  receiver.machine.applied();
  CHECK(receiver.machine.staged_bytes() == 0);
  CHECK(receiver.machine.committed() == Epoch{1});
}

TEST_CASE("a repeated frame is ignored and a gap ends the link, not the session") {
  Receiver receiver;
  CHECK(receiver.give(FrameType::pages, 1, "one"));
  CHECK(Receiver::is<Machine::Ignored>(
      deliver(receiver.machine, make_frame(FrameType::pages, test_session, 1, 1, "other"))));
  CHECK(text_of(receiver.machine.staged().payloads[0]) == "one");
  CHECK_FALSE(deliver(receiver.machine, make_frame(FrameType::pages, test_session, 3, 1, "three")));
  CHECK(receiver.machine.welcome().next_sequence() == 2);
  CHECK(Receiver::is<Machine::Pages>(receiver.give(FrameType::pages, 1, "two")));
}

TEST_CASE("frames of another session, and those that only a backup sends, end the link") {
  Receiver receiver;
  CHECK_FALSE(deliver(receiver.machine, make_frame(FrameType::ping, test_session + 1, 0, 0)));
  CHECK_FALSE(deliver(receiver.machine, make_frame(FrameType::pages, test_session + 1, 1, 1, "x")));
  CHECK_FALSE(deliver(receiver.machine, make_frame(FrameType::commit, test_session, 0, 5)));
  CHECK_FALSE(deliver(receiver.machine, make_frame(FrameType::ack, test_session, 5, 0)));
  CHECK_FALSE(deliver(receiver.machine, make_frame(FrameType::hello, test_session, 0, 0)));
  CHECK_FALSE(deliver(receiver.machine, make_frame(FrameType::reply, test_session, 0, 0)));
  CHECK_FALSE(
      deliver(receiver.machine, make_frame(FrameType::bye, test_session, 0, 0, "\xff\xff")));
  CHECK(Receiver::is<Machine::Pinged>(
      deliver(receiver.machine, make_frame(FrameType::ping, test_session, 0, 0))));
  CHECK(receiver.machine.welcome().next_sequence() == 1);
}

TEST_CASE("input is delivered as it comes, staged nowhere and never acknowledged") {
  Receiver receiver;
  CHECK(receiver.machine.welcome().takes_input());
  CHECK(receiver.give(FrameType::pages, 1, "one"));
  const auto staged = receiver.machine.staged_bytes();
  const auto delivery =
      deliver(receiver.machine, make_frame(FrameType::input, test_session, 0, 7, "a request"));
  REQUIRE(Receiver::is<Machine::Input>(delivery));
  const auto& input = std::get<Machine::Input>(*delivery);
  CHECK(input.epoch == Epoch{7});
  CHECK(text_of(input.payload) == "a request");
  CHECK(receiver.machine.staged_bytes() == staged);
  CHECK(receiver.machine.welcome().next_sequence() == 2);
  CHECK(text_of(receiver.machine.staged().payloads[0]) == "one");
}

TEST_CASE("a seal that lies is a violation, and what was committed stays") {
  auto lie = seal_of(1);
  SECTION("about its frames") {
    lie.set_frames(2);
  }
  SECTION("about fewer frames") {
    lie.set_frames(0);
  }
  SECTION("about the device state") {
    lie.set_device_bytes(limits::device_state_bytes + 1);
  }
  SECTION("about how many RAM blocks there are") {
    lie.add_used_bytes(1);
  }
  SECTION("by leaving a RAM block out") {
    lie.clear_used_bytes();
  }
  SECTION("about what a RAM block uses") {
    lie.set_used_bytes(0, (1U << 20U) + 1);
  }
  Receiver receiver;
  receiver.whole_epoch(1);
  CHECK(receiver.give(FrameType::pages, 2, "page"));
  CHECK(violated(receiver.seal(2, lie)));
  CHECK(receiver.machine.committed() == Epoch{1});
}

TEST_CASE("epochs come in order, none twice, none left out") {
  Receiver receiver;
  receiver.whole_epoch(1);
  SECTION("a seal of the one before") {
    CHECK(violated(receiver.seal(1, seal_of(0))));
  }
  SECTION("a seal of the one after next") {
    CHECK(violated(receiver.seal(3, seal_of(0))));
  }
  SECTION("pages of the one before") {
    CHECK(violated(receiver.give(FrameType::pages, 1, "page")));
  }
  SECTION("pages of the one after next") {
    CHECK(violated(receiver.give(FrameType::pages, 3, "page")));
  }
  SECTION("full synchronisation after an epoch") {
    CHECK(violated(receiver.give(FrameType::sync_pages, 0, "page")));
  }
  CHECK(receiver.machine.committed() == Epoch{1});
}

TEST_CASE("full synchronisation does not go on beside a staged epoch") {
  Receiver receiver;
  CHECK(receiver.give(FrameType::pages, 1, "page"));
  CHECK(violated(receiver.give(FrameType::sync_pages, 0, "page")));
}

TEST_CASE("damaged contents under a good checksum are violations") {
  Receiver receiver;
  SECTION("a seal") {
    CHECK(violated(receiver.give(FrameType::seal, 1, "\xff\xff\xff")));
  }
  SECTION("a request") {
    CHECK(violated(receiver.give(FrameType::request, 1, "\xff\xff\xff")));
  }
  SECTION("pages without any") {
    CHECK(violated(receiver.give(FrameType::pages, 1, "")));
  }
}

TEST_CASE("an epoch that exceeds the staging area is a violation, many small frames too") {
  Receiver receiver;
  SECTION("one large frame") {
    CHECK(violated(receiver.give(FrameType::pages, 1, std::string(4097, 'x'))));
  }
  SECTION("many of one byte") {
    std::size_t taken = 0;
    while (Receiver::is<Machine::Pages>(receiver.give(FrameType::pages, 1, "x"))) ++taken;
    CHECK(taken == 4096 / 64);
  }
}

TEST_CASE("an ack is due after enough frames, and a commit is an ack, too") {
  Receiver receiver;
  for (std::size_t i = 1; i < limits::ack_every_frames; ++i) {
    CHECK(receiver.give(FrameType::pages, 1, "x"));
    CHECK_FALSE(receiver.machine.ack_due());
  }
  CHECK(receiver.give(FrameType::pages, 1, "x"));
  REQUIRE(receiver.machine.ack_due());
  CHECK(as_frame(receiver.machine.ack()).header.sequence == Sequence{limits::ack_every_frames});
  CHECK_FALSE(receiver.machine.ack_due());
}
