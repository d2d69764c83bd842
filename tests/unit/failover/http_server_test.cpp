#include "failover/monitoring/http_server.hpp"

#include <sys/stat.h>

#include <cstdio>
#include <random>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "failover/monitoring/http_tls.hpp"
#include "tests/unit/failover/temporary_directory.hpp"
#include "tests/unit/fuzz_seed.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

using boost::asio::ip::tcp;
namespace ssl = boost::asio::ssl;
using Code = boost::system::error_code;

std::uint16_t free_port() {
  boost::asio::io_context io;
  return tcp::acceptor{io, tcp::endpoint{boost::asio::ip::address_v4::loopback(), 0}}
      .local_endpoint()
      .port();
}

const std::string page_token = "a token of the page";

/// A server and its clients, all on one io_context that the test turns.
struct World {
  boost::asio::io_context io;
  Endpoint endpoint{"127.0.0.1", free_port()};
  std::unique_ptr<HttpServer> server;
  std::vector<std::shared_ptr<ControlCall>> orders;

  explicit World(std::shared_ptr<ssl::context> tls = nullptr) {
    HttpService service;
    service.look = [](std::string_view path) {
      return path == "/here" ? HttpAnswer{.body = "found\n"}
                             : HttpAnswer{.status = 404, .body = "no\n"};
    };
    service.order = [this](std::shared_ptr<ControlCall> call) {
      orders.push_back(std::move(call));
    };
    service.tls = std::move(tls);
    service.guard =
        std::make_shared<HttpGuard>(HttpToken{page_token}, std::vector<std::string>{"a"});
    auto opened = HttpServer::listen(io, endpoint, std::move(service));
    REQUIRE(opened);
    server = std::move(*opened);
  }

  tcp::socket connect() {
    tcp::socket socket{io};
    socket.connect({boost::asio::ip::address_v4::loopback(), endpoint.port});
    return socket;
  }

  void turn_until(const std::function<bool()>& reached) {
    while (!reached() && io.run_one_for(std::chrono::seconds{20}) != 0) {
    }
    REQUIRE(reached());
  }

  /// What comes until the server closes, or until `end` has come.
  template <class Stream>
  std::string receive(Stream& stream, std::string_view end = "\xff") {
    std::string got;
    std::array<char, 4096> chunk{};
    bool over = false;
    std::function<void()> read = [&] {
      stream.async_read_some(boost::asio::buffer(chunk), [&](Code failed, std::size_t count) {
        got.append(chunk.data(), count);
        over = bool(failed) || got.find(end) != std::string::npos;
        if (!over) read();
      });
    };
    read();
    turn_until([&] { return over; });
    return got;
  }

  template <class Stream>
  std::string exchange(Stream& stream, const std::string& sent, std::string_view end = "\xff") {
    Code error;
    boost::asio::write(stream, boost::asio::buffer(sent), error);
    return receive(stream, end);
  }

  std::string exchange_once(const std::string& sent) {
    auto socket = connect();
    return exchange(socket, sent);
  }
};

std::string order_request(const std::string& fields, const std::string& body,
                          const std::string& version = "1.1") {
  return "POST /api/order HTTP/" + version + "\r\nHost: a\r\nConnection: close\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

const std::string json_field = "Content-Type: application/json\r\n";
const std::string token_field = "Authorization: Bearer " + page_token + "\r\n";
const std::string switchover = R"({"switch_over": {"guest": "pg"}})";
const std::string good_order = order_request(json_field + token_field, switchover);

void write_pem(const std::filesystem::path& path, const std::function<int(std::FILE*)>& write) {
  auto* file = std::fopen(path.c_str(), "w");
  REQUIRE(file != nullptr);
  ::fchmod(::fileno(file), 0600);
  CHECK(write(file) == 1);
  std::fclose(file);
}

/// A key and a certificate that it signed itself, as files `name`.key and `name`.crt.
config::HttpTls make_certificate(const std::filesystem::path& directory, const std::string& name) {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key{EVP_EC_gen("P-256"), EVP_PKEY_free};
  const std::unique_ptr<X509, void (*)(X509*)> made{X509_new(), X509_free};
  X509_gmtime_adj(X509_getm_notBefore(made.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_set_pubkey(made.get(), key.get());
  REQUIRE(X509_sign(made.get(), key.get(), EVP_sha256()) > 0);
  config::HttpTls files;
  files.set_key_file(directory / (name + ".key"));
  files.set_certificate_file(directory / (name + ".crt"));
  write_pem(files.key_file(), [&](std::FILE* file) {
    return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  write_pem(files.certificate_file(),
            [&](std::FILE* file) { return PEM_write_X509(file, made.get()); });
  return files;
}

}  // namespace

TEST_CASE("a client gets what it asks for, again and again") {
  World world;
  auto socket = world.connect();
  const auto first = world.exchange(socket, "GET /here?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", "found\n");
  CHECK(first.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(first.ends_with("\r\n\r\nfound\n"));
  const auto last =
      world.exchange(socket, "GET /gone HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(last.starts_with("HTTP/1.1 404"));
}

TEST_CASE("HEAD has no body, and nothing else is answered") {
  World world;
  const auto head =
      world.exchange_once("HEAD /here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(head.find("Content-Length: 6") != std::string::npos);
  CHECK(head.ends_with("\r\n\r\n"));
  for (const auto* other : {"DELETE /here", "OPTIONS /api/order", "POST /here", "PUT /api/order"}) {
    CHECK(
        world
            .exchange_once(other + std::string{" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"})
            .starts_with("HTTP/1.1 405"));
  }
}

TEST_CASE("rubbish, bodies and endless headers end the connection") {
  World world;
  const std::string endless(1U << 17U, 'x');
  for (const auto& sent :
       {std::string{"\x16\x03\x01 rubbish\r\n\r\n"}, "GET / HTTP/1.1\r\n" + endless,
        "GET /" + endless, std::string{"GET /here HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"},
        order_request(token_field, endless),
        std::string{"POST /api/order HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"} +
            endless}) {
    CHECK(world.exchange_once(sent).find("200 OK") == std::string::npos);
  }
  CHECK(world.orders.empty());
}

TEST_CASE("whatever bytes come, no order is made of them, and the server lives") {
  const auto seed = fuzz_seed();
  std::mt19937 random{seed};
  World world;
  const auto valid = order_request(json_field, switchover);
  for (int round = 0; round < 300; ++round) {
    auto sent = valid;
    for (auto changes = 1 + random() % 8; changes > 0; --changes)
      sent[random() % sent.size()] = static_cast<char>(random());
    sent.resize(1 + random() % sent.size());
    auto socket = world.connect();
    Code error;
    boost::asio::write(socket, boost::asio::buffer(sent), error);
    socket.shutdown(tcp::socket::shutdown_send, error);
    static_cast<void>(world.receive(socket));
  }
  CHECK(world.orders.empty());
  CHECK(world.exchange_once("GET /here HTTP/1.0\r\n\r\n").find("200 OK") != std::string::npos);
}

TEST_CASE("clients that only wait keep nobody out") {
  World world;
  std::vector<tcp::socket> waiting;
  for (std::size_t i = 0; i < limits::http_clients + 5; ++i) {
    waiting.push_back(world.connect());
    world.io.run_one_for(std::chrono::seconds{5});
  }
  CHECK(world.exchange_once("GET /here HTTP/1.0\r\n\r\n").find("200 OK") != std::string::npos);
}

TEST_CASE("an address in use is named") {
  World world;
  const auto second = HttpServer::listen(world.io, world.endpoint, {});
  REQUIRE_FALSE(second);
  CHECK(second.error().message.find("127.0.0.1") != std::string::npos);
}

TEST_CASE("an order is answered by its progress and its end, a line each") {
  World world;
  auto socket = world.connect();
  boost::asio::write(socket, boost::asio::buffer(good_order));
  world.turn_until([&] { return world.orders.size() == 1; });
  const auto call = world.orders.front();
  CHECK(call->request().switch_over().guest() == "pg");
  const auto head = world.receive(socket, "\r\n\r\n");
  CHECK(head.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(head.find("Transfer-Encoding: chunked") != std::string::npos);
  call->progress("one last epoch", 0.5);
  CHECK(world.receive(socket, "}}\n").find("one last epoch") != std::string::npos);
  call->done("pg runs on b");
  const auto end = world.receive(socket);
  CHECK(end.find(R"({"done":{"message":"pg runs on b",)") != std::string::npos);
  CHECK(end.ends_with("\r\n0\r\n\r\n"));
}

TEST_CASE("an order without the token, or not from the daemon's page, is none") {
  World world;
  const std::string wrong = "Authorization: Bearer wrong\r\n";
  const auto status = [&](const std::string& fields, const std::string& body = switchover,
                          const std::string& version = "1.1") {
    return world.exchange_once(order_request(fields, body, version)).substr(9, 3);
  };
  CHECK(status(json_field) == "401");
  CHECK(status(json_field + wrong) == "401");
  CHECK(status(token_field) == "415");
  CHECK(status(json_field + token_field + "Origin: http://evil.example\r\n") == "403");
  CHECK(status(json_field + token_field, R"({"clone": {"guest": "pg"}})") == "400");
  CHECK(status(json_field + token_field, "rubbish") == "400");
  CHECK(status(json_field + token_field, switchover, "1.0") == "505");
  auto foreign = good_order;
  foreign.replace(foreign.find("Host: a"), 7, "Host: x");
  CHECK(world.exchange_once(foreign).substr(9, 3) == "403");
  CHECK(world.orders.empty());
  // Guessing ends for the right token, too.
  for (unsigned i = 1; i < limits::http_token_failures; ++i)
    CHECK(status(json_field + wrong) == "401");
  CHECK(status(json_field + token_field) == "429");
  CHECK(world.orders.empty());
}

TEST_CASE("a page learns whether it may order, and whether its token is good") {
  World world;
  const auto ask = [&](const std::string& host, const std::string& fields) {
    return world.exchange_once("GET /api/access HTTP/1.1\r\nHost: " + host +
                               "\r\nConnection: close\r\n" + fields + "\r\n");
  };
  CHECK(ask("a", "").find(R"("orders":true)") != std::string::npos);
  CHECK(ask("a", token_field).find(R"("orders":true)") != std::string::npos);
  CHECK(ask("a", "Authorization: Bearer wrong\r\n").starts_with("HTTP/1.1 401"));
  CHECK(ask("evil.example", "").find("page_url") != std::string::npos);
}

TEST_CASE("an order outlives its client, and the server its orders") {
  World world;
  {
    auto socket = world.connect();
    boost::asio::write(socket, boost::asio::buffer(good_order));
    world.turn_until([&] { return world.orders.size() == 1; });
  }
  world.orders.front()->progress("alone", 0.1);
  world.orders.front()->done("alone");
  world.io.run_for(std::chrono::milliseconds{20});
  auto socket = world.connect();
  boost::asio::write(socket, boost::asio::buffer(good_order));
  world.turn_until([&] { return world.orders.size() == 2; });
  world.server->stop();
  world.orders.back()->done("too late");
  world.orders.clear();
  world.io.run_for(std::chrono::milliseconds{20});
}

TEST_CASE("who waits for the end of an order is not sent away for others") {
  World world;
  auto orderer = world.connect();
  boost::asio::write(orderer, boost::asio::buffer(good_order));
  world.turn_until([&] { return world.orders.size() == 1; });
  std::vector<tcp::socket> others;
  for (std::size_t i = 0; i < limits::http_clients + 5; ++i) {
    others.push_back(world.connect());
    world.io.run_one_for(std::chrono::seconds{5});
  }
  world.orders.front()->done("still there");
  CHECK(world.receive(orderer).find("still there") != std::string::npos);
}

TEST_CASE("over TLS all is the same, and clear text gets nothing") {
  const TemporaryDirectory directory;
  auto tls = load_tls(make_certificate(directory.path(), "page"));
  REQUIRE(tls);
  World world{*tls};
  ssl::context context{ssl::context::tls_client};
  ssl::stream<tcp::socket> stream{world.connect(), context};
  bool shaken = false;
  stream.async_handshake(ssl::stream_base::client, [&](Code error) { shaken = !error; });
  world.turn_until([&] { return shaken; });
  CHECK(world.exchange(stream, "GET /here HTTP/1.1\r\nHost: a\r\n\r\n", "found\n")
            .starts_with("HTTP/1.1 200"));
  boost::asio::write(stream, boost::asio::buffer(order_request(
                                 json_field + token_field + "Origin: https://a\r\n", switchover)));
  world.turn_until([&] { return world.orders.size() == 1; });
  world.orders.front()->done("over TLS");
  CHECK(world.receive(stream).find("over TLS") != std::string::npos);
  CHECK(world.exchange_once("GET /here HTTP/1.0\r\n\r\n").find("found") == std::string::npos);
}

TEST_CASE("what is wrong with a certificate is said") {
  const TemporaryDirectory directory;
  const auto good = make_certificate(directory.path(), "good");
  const auto complaint = [](const config::HttpTls& files) {
    const auto loaded = load_tls(files);
    return loaded ? "" : loaded.error().message;
  };
  CHECK(complaint(good).empty());
  auto files = good;
  files.set_certificate_file(directory.path() / "none");
  CHECK(complaint(files).find("none: No such file") != std::string::npos);
  files = good;
  files.set_key_file(make_certificate(directory.path(), "other").key_file());
  CHECK(complaint(files).find("key values mismatch") != std::string::npos);
  files.set_key_file(good.certificate_file());
  CHECK(complaint(files).find("key_file") != std::string::npos);
  ::chmod(good.key_file().c_str(), 0644);
  CHECK(complaint(good).find("chmod 600") != std::string::npos);
}
