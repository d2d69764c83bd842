#include "failover/control_server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "failover/control_client.hpp"
#include "failover/control_framing.hpp"
#include "failover/control_socket.hpp"
#include "tests/unit/failover/temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;
using namespace std::string_literals;

namespace {

/// A server whose io_context runs in a thread of its own.
class Running {
 public:
  explicit Running(HandleCall handle, std::string path = {})
      : path_{path.empty() ? (directory_.path() / "run" / "control.sock").string() : path} {
    auto server = ControlServer::listen(io_, path_, std::move(handle));
    REQUIRE(server);
    server_ = *std::move(server);
    thread_ = std::thread{[this] { io_.run(); }};
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { stop(); }

  void stop() {
    if (!thread_.joinable()) return;
    boost::asio::post(io_, [this] { server_->stop(); });
    thread_.join();
  }

  boost::asio::io_context& io() { return io_; }
  const std::string& path() const { return path_; }

 private:
  TemporaryDirectory directory_;
  std::string path_;
  boost::asio::io_context io_;
  std::unique_ptr<ControlServer> server_;
  std::thread thread_;
};

control::Request status_request() {
  control::Request request;
  request.mutable_status();
  return request;
}

void answer(const std::shared_ptr<ControlCall>& call) {
  call->done("done");
}

/// Everything until the server closes.
std::string drain(int fd) {
  std::string all;
  std::array<char, 4096> chunk;
  while (true) {
    pollfd waiting{fd, POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, 10'000) == 1);
    const auto got = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (got <= 0) return all;
    all.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

control::Reply only_reply(int fd) {
  ControlDecoder decoder{limits::control_reply_bytes};
  decoder.append(drain(fd));
  const auto body = decoder.next();
  REQUIRE(body);
  REQUIRE(*body);
  return *parse_control<control::Reply>(**body);
}

void send(int fd, std::string_view bytes) {
  REQUIRE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
}

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777U;
}

}  // namespace

TEST_CASE("a request is answered, with progress on the way") {
  Running server{[](const auto& call) {
    call->progress("synchronising memory", 0.5);
    call->done(call->request().protect().guest() + " is protected");
  }};
  control::Request request;
  request.mutable_protect()->set_guest("pg");
  const auto reply = ControlClient::call(server.path(), request, {});
  REQUIRE(reply);
  CHECK(reply->done().message() == "pg is protected");
}

TEST_CASE("progress reaches the client, the newest at least") {
  std::shared_ptr<ControlCall> held;
  Running server{[&held](auto call) {
    call->progress("copying", 0.25);
    held = std::move(call);
  }};
  std::vector<double> seen;
  const auto reply = ControlClient::call(server.path(), status_request(), [&](const auto& step) {
    seen.push_back(step.fraction());
    // The server waits for us: so the order of its steps is known.
    boost::asio::post(server.io(), [&held] {
      if (held) held->done("copied");
      held.reset();
    });
  });
  REQUIRE(reply);
  CHECK(seen == std::vector{0.25});
}

TEST_CASE("a refusal carries its kind and its sentence") {
  Running server{[](const auto& call) {
    call->fail({ErrorKind::conflict, "pg is protected already"});
  }};
  const auto reply = ControlClient::call(server.path(), status_request(), {});
  REQUIRE(reply);
  CHECK(reply->error().kind() == "conflict");
  CHECK(reply->error().message() == "pg is protected already");
}

TEST_CASE("a call that is dropped is answered all the same") {
  Running server{[](const auto& /*call*/) {}};
  const auto reply = ControlClient::call(server.path(), status_request(), {});
  REQUIRE(reply);
  CHECK(reply->error().kind() == "closed");
}

TEST_CASE("a long reply arrives whole, one beyond the limit is an error") {
  std::size_t size = 3U << 20U;
  SECTION("long") {}
  SECTION("too long") {
    size = 5U << 20U;
  }
  Running server{[size](const auto& call) { call->done(std::string(size, 'x')); }};
  const auto reply = ControlClient::call(server.path(), status_request(), {});
  REQUIRE(reply);
  if (size <= limits::control_reply_bytes) {
    CHECK(reply->done().message().size() == size);
  } else {
    CHECK(reply->error().kind() == "limit");
  }
}

TEST_CASE("the socket is its owner's, its directory everybody's to enter") {
  Running server{answer};
  CHECK(mode_of(server.path()) == 0600);
  CHECK(mode_of(std::filesystem::path{server.path()}.parent_path()) == 0755);
  server.stop();
  CHECK_FALSE(std::filesystem::exists(server.path()));
}

TEST_CASE("a second daemon is refused, a dead one's socket replaced") {
  TemporaryDirectory directory;
  const auto path = (directory.path() / "control.sock").string();
  boost::asio::io_context io;
  SECTION("alive") {
    const Running first{answer, path};
    const auto second = ControlServer::listen(io, path, answer);
    REQUIRE_FALSE(second);
    CHECK(second.error().kind == ErrorKind::conflict);
    CHECK(ControlClient::call(path, status_request(), {}));
  }
  SECTION("dead") {
    { const auto dead = listen_control(path); }
    REQUIRE(std::filesystem::exists(path));
    const Running second{answer, path};
    CHECK(ControlClient::call(path, status_request(), {}));
  }
  SECTION("not a socket") {
    std::ofstream{path} << "precious";
    CHECK(ControlServer::listen(io, path, answer).error().kind == ErrorKind::conflict);
    CHECK(std::filesystem::file_size(path) == 8);
  }
  SECTION("too long a path") {
    CHECK(ControlServer::listen(io, std::string(200, 'x'), answer).error().kind ==
          ErrorKind::invalid);
  }
}

TEST_CASE("rubbish gets an error, and the server goes on") {
  Running server{answer};
  const auto fd = connect_control(server.path());
  REQUIRE(fd);
  SECTION("oversized") {
    send(fd->get(), "\x7f\xff\xff\xff"s);
    CHECK(only_reply(fd->get()).error().kind() == "protocol");
  }
  SECTION("not a request") {
    send(fd->get(), "\0\0\0\x03\xff\xff\xff"s);
    CHECK(only_reply(fd->get()).error().kind() == "protocol");
  }
  SECTION("a request from the future") {
    send(fd->get(), "\0\0\0\0"s);
    CHECK(only_reply(fd->get()).error().kind() == "invalid");
  }
  SECTION("half a request") {
    send(fd->get(), "\0\0\0\x7f"s);
    ::shutdown(fd->get(), SHUT_WR);
    CHECK(drain(fd->get()).empty());
  }
  CHECK(ControlClient::call(server.path(), status_request(), {}));
}

TEST_CASE("a client that goes away is no trouble") {
  std::promise<std::shared_ptr<ControlCall>> handed;
  Running server{[&handed, first = true](auto call) mutable {
    if (std::exchange(first, false)) return handed.set_value(std::move(call));
    call->done("second");
  }};
  std::shared_ptr<ControlCall> call;
  const auto is_abandoned = [&] {
    std::promise<bool> said;
    boost::asio::post(server.io(), [&] { said.set_value(call->abandoned()); });
    return said.get_future().get();
  };
  {
    const auto fd = connect_control(server.path());
    send(fd->get(), *encode_control(status_request(), 100));
    call = handed.get_future().get();
    CHECK_FALSE(is_abandoned());
  }
  while (!is_abandoned()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  boost::asio::post(server.io(), [kept = std::move(call)] {
    for (int i = 0; i < 100; ++i) kept->progress("on", 0.1);
  });
  CHECK(ControlClient::call(server.path(), status_request(), {})->done().message() == "second");
}

TEST_CASE("a client too many is told so") {
  Running server{answer};
  std::vector<UniqueFd> idle;
  for (std::size_t i = 0; i < limits::control_clients; ++i) {
    auto fd = connect_control(server.path());
    // The listener's queue may be full for a moment.
    while (!fd) fd = connect_control(server.path());
    idle.push_back(*std::move(fd));
  }
  auto reply = ControlClient::call(server.path(), status_request(), {});
  while (!reply) reply = ControlClient::call(server.path(), status_request(), {});
  CHECK(reply->error().kind() == "limit");
}

TEST_CASE("no daemon, or one that stops amid a call, is an error that says so") {
  CHECK(ControlClient::call("/nowhere/control.sock", status_request(), {}).error().kind ==
        ErrorKind::unavailable);
  std::promise<std::shared_ptr<ControlCall>> handed;
  Running server{[&handed](auto call) { handed.set_value(std::move(call)); }};
  auto reply = std::async(std::launch::async,
                          [&] { return ControlClient::call(server.path(), status_request(), {}); });
  auto call = handed.get_future().get();
  server.stop();
  CHECK(reply.get().error().kind == ErrorKind::closed);
  call->done("too late, and harmless");
}
