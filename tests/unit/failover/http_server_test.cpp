#include "failover/monitoring/http_server.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>

#include "config/limits.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

using boost::asio::ip::tcp;
using Code = boost::system::error_code;

std::uint16_t free_port() {
  boost::asio::io_context io;
  return tcp::acceptor{io, tcp::endpoint{boost::asio::ip::address_v4::loopback(), 0}}
      .local_endpoint()
      .port();
}

/// A server and its clients, all on one io_context that the test turns.
struct World {
  boost::asio::io_context io;
  Endpoint endpoint{"127.0.0.1", free_port()};
  std::unique_ptr<HttpServer> server;

  World() {
    auto opened = HttpServer::listen(io, endpoint, [](std::string_view path) {
      return path == "/here" ? HttpAnswer{.body = "found\n"}
                             : HttpAnswer{.status = 404, .body = "no\n"};
    });
    REQUIRE(opened);
    server = std::move(*opened);
  }

  tcp::socket connect() {
    tcp::socket socket{io};
    socket.connect({boost::asio::ip::address_v4::loopback(), endpoint.port});
    return socket;
  }

  /// What comes until the server closes, or until it is `enough`.
  std::string exchange(tcp::socket& socket, const std::string& sent,
                       std::size_t enough = SIZE_MAX) {
    Code error;
    boost::asio::write(socket, boost::asio::buffer(sent), error);
    std::string got;
    std::array<char, 4096> chunk{};
    bool over = false;
    std::function<void()> read = [&] {
      socket.async_read_some(boost::asio::buffer(chunk), [&](Code failed, std::size_t count) {
        got.append(chunk.data(), count);
        over = bool(failed) || got.size() >= enough;
        if (!over) read();
      });
    };
    read();
    while (!over && io.run_one_for(std::chrono::seconds{5}) != 0) {
    }
    REQUIRE(over);
    return got;
  }
};

}  // namespace

TEST_CASE("a client gets what it asks for, again and again") {
  World world;
  auto socket = world.connect();
  const std::string get = "GET /here?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
  const auto first = world.exchange(socket, get, 100);
  CHECK(first.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(first.ends_with("\r\n\r\nfound\n"));
  const auto last =
      world.exchange(socket, "GET /gone HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(last.starts_with("HTTP/1.1 404"));
}

TEST_CASE("HEAD has no body, and nothing else is answered") {
  World world;
  auto socket = world.connect();
  const auto head =
      world.exchange(socket, "HEAD /here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(head.find("Content-Length: 6") != std::string::npos);
  CHECK(head.ends_with("\r\n\r\n"));
  auto other = world.connect();
  CHECK(world.exchange(other, "DELETE /here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 405"));
}

TEST_CASE("rubbish, bodies and endless headers end the connection") {
  World world;
  for (const auto& sent : {std::string{"\x16\x03\x01 rubbish\r\n\r\n"},
                           "GET / HTTP/1.1\r\n" + std::string(1U << 16U, 'x'),
                           std::string{"GET /here HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"}}) {
    auto socket = world.connect();
    CHECK(world.exchange(socket, sent).find("200 OK") == std::string::npos);
  }
}

TEST_CASE("clients that only wait keep nobody out") {
  World world;
  std::vector<tcp::socket> waiting;
  for (std::size_t i = 0; i < limits::http_clients + 5; ++i) {
    waiting.push_back(world.connect());
    world.io.run_one_for(std::chrono::seconds{5});
  }
  auto socket = world.connect();
  CHECK(world.exchange(socket, "GET /here HTTP/1.0\r\n\r\n").find("200 OK") != std::string::npos);
}

TEST_CASE("an address in use is named") {
  World world;
  const auto second = HttpServer::listen(world.io, world.endpoint, nullptr);
  REQUIRE_FALSE(second);
  CHECK(second.error().message.find("127.0.0.1") != std::string::npos);
}
