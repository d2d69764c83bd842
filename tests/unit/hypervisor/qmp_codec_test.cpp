#include "hypervisor/qmp_codec.hpp"

#include <sys/socket.h>

#include <array>
#include <thread>

#include <catch2/catch.hpp>

#include "hypervisor/qmp_client.hpp"

using namespace understudy;
using namespace understudy::hypervisor;

TEST_CASE("QMP lines become messages") {
  const auto greeting = qmp::parse(
      R"({"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":"Debian 1:7.2"}}})");
  CHECK(std::get<qmp::Greeting>(*greeting).version == "7.2.22 (Debian 1:7.2)");
  CHECK(std::get<qmp::Return>(*qmp::parse(R"({"return":{},"id":7})")).id == 7);
  const auto refusal = qmp::parse(R"({"id":8,"error":{"class":"GenericError","desc":"no"}})");
  CHECK(std::get<qmp::Refusal>(*refusal).description == "no");
  CHECK(std::get<qmp::Event>(*qmp::parse(R"({"event":"STOP"})")).name == "STOP");
}

TEST_CASE("what is not QMP is an error, not a crash") {
  for (const auto* bad : {"", "{", "[]", "7", R"({"x":1})", "\xff\xfe", R"({"return":1)"}) {
    CHECK_FALSE(qmp::parse(bad));
  }
  CHECK(qmp::parse(R"({"event":5})"));  // odd but harmless
  CHECK(qmp::parse(R"({"return":{},"id":"text"})"));
}

TEST_CASE("a command is an object that ends with a brace") {
  CHECK(qmp::command("stop", {}, 3) == R"({"execute":"stop","id":3})");
  CHECK(qmp::command("cont", {{"a", "}"}}, 4) ==
        R"({"execute":"cont","id":4,"arguments":{"a":"}"}})");
}

TEST_CASE("of a command that was prepared only the end is left to be sent") {
  std::array<int, 2> fds{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()) == 0);
  const UniqueFd peer{fds[1]};
  const auto say = [&](std::string_view line) {
    REQUIRE(::write(peer.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  };
  const auto heard = [&] {
    std::array<char, 512> bytes{};
    const auto size = ::recv(peer.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    return std::string{bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  };
  say("{\"QMP\":{\"version\":{\"qemu\":{\"major\":7}}}}\n{\"return\":{},\"id\":1}\n");
  auto client = QmpClient::open(UniqueFd{fds[0]}, seconds{1});
  REQUIRE(client);
  static_cast<void>(heard());

  REQUIRE(client->prepare({"stop", {}}));
  CHECK(heard() == R"({"execute":"stop","id":2)");
  REQUIRE(client->prepare({"stop", {}}));
  CHECK(heard().empty());
  CHECK(*client->send({"stop", {}}) == 2);
  CHECK(heard() == "}");
  say("{\"return\":{},\"id\":2}\n");
  CHECK(client->await(2, seconds{1}));

  REQUIRE(client->prepare({"stop", {}}));
  static_cast<void>(heard());
  CHECK(*client->send({"cont", {}}) == 4);
  CHECK(heard() == R"(,"withdrawn":true}{"execute":"cont","id":4})");
  say("{\"error\":{\"desc\":\"unexpected\"},\"id\":3}\n{\"return\":{},\"id\":4}\n");
  CHECK(client->await(4, seconds{1}));
  say("{\"error\":{\"desc\":\"no\"},\"id\":5}\n");
  CHECK(client->await(5, seconds{1}).error().message == "QEMU refused: no");
}

TEST_CASE("a client survives a QEMU that says nothing, rubbish or goes away") {
  std::array<int, 2> fds{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()) == 0);
  UniqueFd peer{fds[1]};
  SECTION("nothing") {
    CHECK(QmpClient::open(UniqueFd{fds[0]}, milliseconds{10}).error().kind == ErrorKind::timed_out);
  }
  SECTION("rubbish") {
    CHECK(::write(peer.get(), "rubbish\n", 8) == 8);
    CHECK(QmpClient::open(UniqueFd{fds[0]}, seconds{1}).error().kind == ErrorKind::protocol);
  }
  SECTION("an endless line") {
    const std::string endless(4096, 'x');
    std::thread talker{[&] {
      while (::send(peer.get(), endless.data(), endless.size(), MSG_NOSIGNAL) > 0) {
      }
    }};
    CHECK(QmpClient::open(UniqueFd{fds[0]}, seconds{5}).error().kind == ErrorKind::limit);
    talker.join();
  }
  SECTION("gone") {
    peer.reset();
    CHECK(QmpClient::open(UniqueFd{fds[0]}, seconds{1}).error().kind == ErrorKind::closed);
  }
}
