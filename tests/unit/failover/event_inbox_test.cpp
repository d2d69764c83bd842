#include "failover/event_inbox.hpp"

#include <thread>

#include <catch2/catch.hpp>

#include "config/limits.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

class Recorder : public MembershipEvents {
 public:
  void on_view(const View& view) override { note("view " + to_string(view.ring)); }
  void on_message(NodeId sender, std::span<const std::byte> message) override {
    note(fmt::format("message {} {}", sender, message.size()));
  }
  void on_lost(const Error& reason) override { note("lost " + reason.message); }

  std::vector<std::string> heard;
  std::function<void()> then;

 private:
  void note(std::string what) {
    heard.push_back(std::move(what));
    if (then) then();
  }
};

}  // namespace

TEST_CASE("events arrive on the io_context's thread, in their order") {
  boost::asio::io_context io;
  Recorder recorder;
  const auto inbox = std::make_shared<EventInbox>(io, recorder, [] {});
  inbox->push(View{{4, NodeId{1}}, Quorum::present, {NodeId{1}}, {}});
  inbox->push(GroupMessage{NodeId{2}, std::vector<std::byte>(3)});
  inbox->push(Error{ErrorKind::closed, "gone"});
  CHECK(recorder.heard.empty());
  io.run();
  CHECK(recorder.heard == std::vector<std::string>{"view 1.4", "message 2 3", "lost gone"});
}

TEST_CASE("after close nothing arrives, not even the rest of a batch") {
  boost::asio::io_context io;
  Recorder recorder;
  const auto inbox = std::make_shared<EventInbox>(io, recorder, [] {});
  recorder.then = [&] { inbox->close(); };
  for (int i = 0; i < 3; ++i) inbox->push(GroupMessage{NodeId{2}, {}});
  io.run();
  CHECK(recorder.heard.size() == 1);
}

TEST_CASE("a full inbox says when there is room again") {
  boost::asio::io_context io;
  Recorder recorder;
  int rooms = 0;
  const auto inbox = std::make_shared<EventInbox>(io, recorder, [&] { ++rooms; });
  for (std::size_t i = 0; i < limits::membership_incoming; ++i) {
    CHECK_FALSE(inbox->full());
    inbox->push(GroupMessage{NodeId{2}, {}});
  }
  CHECK(inbox->full());
  io.run();
  CHECK_FALSE(inbox->full());
  CHECK(rooms == 1);
}

TEST_CASE("pushing and delivering at once loses nothing") {
  boost::asio::io_context io;
  auto work = boost::asio::make_work_guard(io);
  Recorder recorder;
  const auto inbox = std::make_shared<EventInbox>(io, recorder, [] {});
  recorder.then = [&] {
    if (recorder.heard.size() == 1000) io.stop();
  };
  std::thread worker{[&] {
    for (int i = 0; i < 1000; ++i) inbox->push(GroupMessage{NodeId{2}, {}});
  }};
  io.run();
  worker.join();
  CHECK(recorder.heard.size() == 1000);
}
