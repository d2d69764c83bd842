#include "replication/link_test.hpp"

#include <future>

#include <catch2/catch.hpp>

#include "raw_peer.hpp"
#include "replication/control_frame.hpp"
#include "replication/replication_server.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

std::unique_ptr<ReplicationServer> listening() {
  auto server = ReplicationServer::listen({"127.0.0.1", 0}, "c1", "b", [](auto&&...) {
    return Result<std::shared_ptr<ReplicaEvents>>{fail(ErrorKind::unavailable, "no guests here")};
  });
  REQUIRE(server);
  return *std::move(server);
}

Result<LinkMeasure> measure(const Endpoint& at, const std::string& cluster = "c1") {
  return measure_link({cluster, "a", "b", at, tcp_transport()}, [] { return false; });
}

}  // namespace

TEST_CASE("a link is measured") {
  const auto server = listening();
  const auto measured = measure(server->endpoint());
  REQUIRE(measured);
  CHECK(measured->bytes_per_second > 1e6);
  CHECK(measured->round_trip_p50 > Duration{});
  CHECK(measured->round_trip_p50 <= measured->round_trip_p99);
  CHECK(measured->counters.sent_frames > 500);
}

TEST_CASE("a link test says why there is nothing to measure") {
  const auto server = listening();
  const auto refused = measure(server->endpoint(), "c2");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("cluster") != std::string::npos);
  const auto nobody = measure({"127.0.0.1", 1});
  REQUIRE_FALSE(nobody);
  CHECK(nobody.error().kind == ErrorKind::unavailable);
}

TEST_CASE("one link test at a time") {
  const auto server = listening();
  RawPeer first{server->endpoint()};
  Hello hello;
  hello.set_cluster("c1");
  hello.set_from_host("x");
  hello.set_to_host("b");
  hello.set_link_test(true);
  first.say(*encode_message(FrameType::hello, SessionId{7}, hello));
  REQUIRE(first.hear());
  const auto second = measure(server->endpoint());
  REQUIRE_FALSE(second);
  CHECK(second.error().message.find("another link test") != std::string::npos);
}

TEST_CASE("a link test can be ended") {
  const auto server = listening();
  const auto ended = measure_link({"c1", "a", "b", server->endpoint(), tcp_transport()},
                                  [asked = 0]() mutable { return ++asked > 3; });
  REQUIRE_FALSE(ended);
  CHECK(ended.error().kind == ErrorKind::closed);
}

TEST_CASE("a server stops while a link is tested") {
  auto server = listening();
  std::promise<void> begun;
  auto test = std::async(std::launch::async, [&, at = server->endpoint()] {
    return measure_link({"c1", "a", "b", at, tcp_transport()}, [&, told = false]() mutable {
      if (!std::exchange(told, true)) begun.set_value();
      return false;
    });
  });
  begun.get_future().wait();
  server->stop();
  server.reset();
  static_cast<void>(test.get());
}
