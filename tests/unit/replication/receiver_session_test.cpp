// A backup's session with the time in the test's hand.
#include "replication/receiver_session.hpp"
#include "replication/connection.hpp"

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "machine_frames.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

/// Notes the frames that it is given.
class NotingLink final : public Link {
 public:
  bool send(std::span<const std::byte> frame) override { return send_copy(frame); }
  bool send_copy(std::span<const std::byte> frame) override {
    if (open_) said_.push_back(as_frame(frame).header.type);
    return true;
  }
  void finish() override { open_ = false; }
  void close() override { open_ = false; }
  std::unique_ptr<Connection> release() override { return nullptr; }
  [[nodiscard]] LinkCounters counters() override { return {}; }
  [[nodiscard]] bool open() const { return open_; }
  [[nodiscard]] auto count(FrameType type) const { return std::ranges::count(said_, type); }

 private:
  std::vector<FrameType> said_;
  bool open_{true};
};

/// Its requests take time; between two questions, `step`.
class SlowReplica final : public ReplicaEvents {
 public:
  SlowReplica(TimePoint& clock, Duration step) : clock_{clock}, step_{step} {}

  Result<> on_sync_pages(std::span<const std::byte> /*payload*/) override { return {}; }
  Result<> on_check(std::span<const std::byte> /*payload*/) override { return {}; }
  Result<> on_check_seal(const Seal& /*seal*/) override { return {}; }
  void on_commit(const StagedEpoch& epoch) override { committed = epoch.epoch; }
  Reply on_request(const Request& request, const KeepGoing& keep_going) override {
    Reply reply;
    reply.set_id(request.id());
    for (int i = 0; i < 100; ++i) {
      clock_ += step_;
      if (!keep_going()) {
        reply.set_failed("told to stop");
        break;
      }
      ++steps;
    }
    return reply;
  }
  void on_end(const Error& reason) override { ends.push_back(reason); }

  Epoch committed;
  int steps{};
  std::vector<Error> ends;

 private:
  TimePoint& clock_;
  Duration step_;
};

struct Backup {
  TimePoint at{seconds{1000}};
  bool end_waits{};
  int gone{};
  std::shared_ptr<SlowReplica> replica = std::make_shared<SlowReplica>(at, milliseconds{50});
  std::shared_ptr<NotingLink> link = std::make_shared<NotingLink>();
  ReceiverSession session{{.session = SessionId{test_session},
                           .block_bytes = {1U << 20U},
                           .staging = std::move(Mapping::anonymous(1U << 20U).value()),
                           .replica = replica,
                           .clock = [this] { return at; },
                           .end_waits = [this] { return end_waits; },
                           .ended = [] {},
                           .gone = [this] { ++gone; }}};

  Backup() { session.adopt(link); }

  void hear(const TestFrame& frame) {
    const auto place = session.place(frame.header).first(frame.payload.size());
    std::ranges::copy(frame.payload, place.begin());
    session.on_frame(frame.header, place);
  }
  void ask() {
    Request request;
    request.set_id(3);
    hear(make_frame(FrameType::request, test_session, 1, 0, request.SerializeAsString()));
  }
  void pass(Duration time) {
    for (const auto until = at + time; at < until;) {
      at += limits::link_tick;
      session.tick();
    }
  }
};

}  // namespace

TEST_CASE("a primary that stays away is told to the replica, once, and keeps its commit") {
  Backup backup;
  backup.hear(make_frame(FrameType::seal, test_session, 1, 1, seal_of(0).SerializeAsString()));
  REQUIRE(backup.replica->committed == Epoch{1});
  SECTION("its link fell silent") {
    backup.pass(limits::link_silence);
    CHECK_FALSE(backup.link->open());
    CHECK_FALSE(backup.session.status().connected);
    backup.pass(limits::primary_away - limits::link_silence);
  }
  SECTION("its link broke") {
    backup.session.on_down({ErrorKind::closed, "cut"});
    backup.pass(limits::primary_away);
  }
  CHECK(backup.replica->ends.empty());
  backup.pass(limits::link_tick);
  REQUIRE(backup.replica->ends.size() == 1);
  CHECK(backup.replica->ends[0].kind == ErrorKind::timed_out);
  CHECK(backup.replica->ends[0].message == "the primary stayed away");
  CHECK(backup.gone == 1);
  CHECK(backup.replica->committed == Epoch{1});
  backup.pass(seconds{60});
  CHECK(backup.replica->ends.size() == 1);
}

TEST_CASE("a primary that comes back in time is not given up") {
  Backup backup;
  backup.session.on_down({ErrorKind::closed, "cut"});
  backup.pass(limits::primary_away);
  const auto again = std::make_shared<NotingLink>();
  backup.session.adopt(again);
  for (int i = 0; i < 100; ++i) {
    backup.pass(limits::link_silence / 2);
    backup.hear(make_frame(FrameType::ping, test_session, 0, 0));
  }
  CHECK(again->open());
  CHECK(backup.replica->ends.empty());
}

TEST_CASE("a request that takes long leaves the link alive on both sides") {
  Backup backup;
  backup.ask();
  CHECK(backup.replica->steps == 100);
  CHECK(backup.link->count(FrameType::ping) == seconds{5} / limits::link_keepalive);
  CHECK(backup.link->count(FrameType::reply) == 1);
  backup.pass(limits::link_tick);
  CHECK(backup.link->open());
}

TEST_CASE("a request is given up when the session shall end") {
  Backup backup;
  backup.end_waits = true;
  backup.ask();
  CHECK(backup.replica->steps == 0);
  CHECK(backup.link->count(FrameType::reply) == 1);
}
