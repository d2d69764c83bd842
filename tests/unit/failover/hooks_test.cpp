#include "failover/hooks/hooks.hpp"

#include <fstream>
#include <sstream>
#include <thread>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "failover/hooks/hook_attempt.hpp"
#include "failover/hooks/hook_queue.hpp"
#include "failover/hooks/state_watch.hpp"
#include "temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

const TimePoint start{std::chrono::hours{1}};

control::Event event(const std::string& id) {
  control::Event one;
  one.set_id(id);
  one.set_event("HOST_LOST");
  one.set_subject("b");
  return one;
}

control::Guest guest(control::GuestState state, const std::string& active = "a",
                     const std::string& backup = "b") {
  control::Guest one;
  one.set_name("pg");
  one.set_state(state);
  one.set_active_host(active);
  one.set_backup_host(backup);
  return one;
}

control::Quorum quorum(bool quorate, const std::vector<std::string>& present) {
  control::Quorum one;
  one.set_quorate(quorate);
  for (const auto* name : {"a", "b", "w"}) {
    auto& member = *one.add_member();
    member.set_name(name);
    member.set_present(std::ranges::find(present, name) != present.end());
  }
  return one;
}

std::string names(const StateWatch::Events& events) {
  std::string text;
  for (const auto& one : events) text += (text.empty() ? "" : " ") + one.event();
  return text;
}

config::Hook exec_hook(const std::string& script) {
  config::Hook hook;
  for (const auto* word : {"/bin/sh", "-c"}) hook.mutable_exec()->add_command(word);
  hook.mutable_exec()->add_command(script);
  hook.set_timeout_s(10);
  return hook;
}

bool never() {
  return false;
}

std::string contents(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

/// Answers one request, and keeps it.
class WebServer {
 public:
  explicit WebServer(std::string status)
      : thread_{[this, status = std::move(status)] {
          tcp::socket client{io_};
          acceptor_.accept(client);
          boost::asio::streambuf buffer;
          boost::system::error_code error;
          boost::asio::read_until(client, buffer, "}\n", error);
          got = {std::istreambuf_iterator<char>{&buffer}, {}};
          boost::asio::write(
              client, boost::asio::buffer("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n"));
        }} {}
  void join() { thread_.join(); }
  [[nodiscard]] config::Hook hook() const {
    config::Hook one;
    one.mutable_webhook()->set_url(
        fmt::format("http://127.0.0.1:{}/there", acceptor_.local_endpoint().port()));
    one.set_timeout_s(10);
    return one;
  }

  std::string got;

 private:
  using tcp = boost::asio::ip::tcp;
  boost::asio::io_context io_;
  tcp::acceptor acceptor_{io_, tcp::endpoint{boost::asio::ip::address_v4::loopback(), 0}};
  std::thread thread_;
};

}  // namespace

TEST_CASE("a hook's events are tried in order, again after a growing time, and given up") {
  HookQueue queue{2};
  CHECK(queue.due() == TimePoint::max());
  CHECK(queue.push(event("1")));
  CHECK(queue.push(event("2")));
  REQUIRE(queue.begin(start)->id() == "1");
  CHECK(!queue.begin(start));  // one at a time
  CHECK(queue.failed(start));
  CHECK(queue.due() == start + seconds{1});
  CHECK(!queue.begin(start));
  REQUIRE(queue.begin(start + seconds{1})->id() == "1");
  CHECK(queue.failed(start + seconds{1}));
  CHECK(queue.due() == start + seconds{3});
  REQUIRE(queue.begin(start + seconds{3})->id() == "1");
  CHECK(!queue.failed(start + seconds{3}));  // the first attempt and two more
  REQUIRE(queue.begin(start + seconds{3})->id() == "2");
  queue.succeeded();
  CHECK(queue.size() == 0);
}

TEST_CASE("a hook's pauses have a limit") {
  HookQueue queue{20};
  CHECK(queue.push(event("1")));
  auto at = start;
  for (int i = 0; i < 15; ++i) {
    REQUIRE(queue.begin(at));
    CHECK(queue.failed(at));
    CHECK(queue.due() - at <= limits::hook_retry_max);
    at = queue.due();
  }
}

TEST_CASE("a full queue forgets its oldest event, but not the one under way") {
  HookQueue queue{0};
  CHECK(queue.push(event("first")));
  REQUIRE(queue.begin(start));
  for (std::size_t i = 1; i < limits::hook_queue; ++i) CHECK(queue.push(event("old")));
  CHECK(!queue.push(event("new")));
  CHECK(queue.size() == limits::hook_queue);
  queue.succeeded();
  CHECK(queue.size() == limits::hook_queue - 1);

  HookQueue idle{0};
  for (std::size_t i = 0; i < limits::hook_queue; ++i) CHECK(idle.push(event(std::to_string(i))));
  CHECK(!idle.push(event("new")));
  CHECK(idle.begin(start)->id() == "1");
}

TEST_CASE("the first look at a guest tells nothing; what changes is told by its active host") {
  StateWatch watch{"a"};
  CHECK(names(watch.look(guest(control::UNPROTECTED))).empty());
  CHECK(names(watch.look(guest(control::UNPROTECTED))).empty());
  CHECK(names(watch.look(guest(control::PROTECTED))) == "GUEST_STATE");
  CHECK(names(watch.look(guest(control::UNPROTECTED))) == "PROTECTION_LOST GUEST_STATE");
  CHECK(names(watch.look(guest(control::SYNCHRONISING))) == "GUEST_STATE");
  CHECK(names(watch.look(guest(control::PROTECTED))) == "PROTECTION_REGAINED GUEST_STATE");
  const auto stopped = watch.look(guest(control::STOPPED, "", ""));
  REQUIRE(names(stopped) == "GUEST_STATE");
  CHECK(stopped[0].before() == "PROTECTED");
  CHECK(stopped[0].state() == "STOPPED");

  StateWatch other{"b"};
  CHECK(names(other.look(guest(control::PROTECTED))).empty());
  CHECK(names(other.look(guest(control::STOPPED))).empty());
}

TEST_CASE("who took a guest over says so, and when it is protected again") {
  StateWatch watch{"b"};
  CHECK(watch.look(guest(control::PROTECTED)).empty());
  auto taken = guest(control::UNPROTECTED, "b", "");
  taken.mutable_last_failover()->set_running_unix_us(7);
  CHECK(names(watch.look(taken)) == "FAILED_OVER");
  CHECK(names(watch.look(taken)).empty());
  auto again = guest(control::PROTECTED, "b", "a");
  again.mutable_last_failover()->set_running_unix_us(7);
  CHECK(names(watch.look(again)) == "PROTECTION_REGAINED GUEST_STATE");
  CHECK(names(watch.look(guest(control::PROTECTED, "a", "b"))).empty());  // given back
  taken.mutable_last_failover()->set_running_unix_us(9);
  taken.mutable_last_failover()->set_planned(true);
  CHECK(names(watch.look(taken)) == "SWITCHED_OVER");
}

TEST_CASE("hosts that leave and return are told, but not by a host that sees nobody") {
  StateWatch watch{"a"};
  CHECK(watch.look(quorum(true, {"a", "b", "w"})).empty());
  const auto lost = watch.look(quorum(true, {"a", "w"}));
  REQUIRE(names(lost) == "HOST_LOST");
  CHECK(lost[0].subject() == "b");
  CHECK(names(watch.look(quorum(false, {}))) == "QUORUM_LOST");
  CHECK(names(watch.look(quorum(true, {"a", "b", "w"}))) == "QUORUM_REGAINED HOST_RETURNED");
}

TEST_CASE("a program gets the event on its stdin and in its environment") {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "out";
  const auto script = "echo \"$EVENT $HOST\" > " + file.string() + "; cat >> " + file.string();
  auto one = event("x-1");
  one.set_host("a");
  REQUIRE(attempt_hook(exec_hook(script), one, never));
  CHECK_THAT(contents(file), Catch::StartsWith("HOST_LOST a\n{"));
  CHECK_THAT(contents(file), Catch::Contains("\"id\":\"x-1\""));
  const auto failed = attempt_hook(exec_hook("exit 3"), one, never);
  REQUIRE(!failed);
  CHECK(failed.error().message == "exit status 3");
}

TEST_CASE("a program that hangs is ended") {
  auto hook = exec_hook("sleep 1000");
  hook.set_timeout_s(1);
  CHECK(!attempt_hook(hook, event("1"), never));
  CHECK(!attempt_hook(exec_hook("sleep 1000"), event("1"), [] { return true; }));
}

TEST_CASE("a web server is posted the event, and says whether it took it") {
  WebServer good{"204 No Content"};
  CHECK(attempt_hook(good.hook(), event("x-1"), never));
  good.join();
  CHECK_THAT(good.got, Catch::StartsWith("POST /there HTTP/1.1\r\n"));
  CHECK_THAT(good.got, Catch::Contains("\"subject\":\"b\""));
  WebServer bad{"500 Oh"};
  const auto refused = attempt_hook(bad.hook(), event("1"), never);
  bad.join();
  REQUIRE(!refused);
  CHECK(refused.error().message == "status 500");
  CHECK(!attempt_hook(bad.hook(), event("1"), [] { return true; }));
}

TEST_CASE("a hook that hangs delays neither who tells nor the others") {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "told";
  const auto settings = Settings::parse(
      fmt::format("this_host: 'a' cluster: 'c' host {{ name: 'a' node_id: 1 }} "
                  "hook {{ exec {{ command: ['/bin/sleep', '1000'] }} timeout_s: 300 }} "
                  "hook {{ exec {{ command: ['/usr/bin/touch', '{}'] }} on: HOST_LOST }} "
                  "hook {{ exec {{ command: ['/usr/bin/touch', '{}.not'] }} on: QUORUM_LOST }}",
                  file.string(), file.string()),
      "test");
  REQUIRE(settings);
  Hooks hooks{*settings};
  const auto begun = now();
  for (int i = 0; i < 100; ++i) hooks.tell(event(""));
  CHECK(now() - begun < seconds{5});
  while (!std::filesystem::exists(file) && now() - begun < seconds{30})
    std::this_thread::sleep_for(milliseconds{10});
  CHECK(std::filesystem::exists(file));
  hooks.stop();
  CHECK(now() - begun < seconds{60});
  CHECK(!std::filesystem::exists(file.string() + ".not"));
}
