#include "hypervisor/child_process.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include <catch2/catch.hpp>

#include "config/unique_fd.hpp"

using namespace understudy;
using namespace understudy::hypervisor;

TEST_CASE("a child's complaints are kept, and its end is seen") {
  auto child = ChildProcess::start({{"sh", "-c", "echo oops >&2; exit 3"}, {}, {}});
  REQUIRE(child);
  CHECK(child->wait(seconds{5}));
  CHECK(child->complaints() == "oops");
  CHECK(child->complaints().empty());
}

TEST_CASE("a child that talks without end does not wait for us") {
  auto child =
      ChildProcess::start({{"sh", "-c", "head -c 10000000 /dev/zero >&2; exit 0"}, {}, {}});
  REQUIRE(child);
  CHECK(child->wait(seconds{10}));
}

TEST_CASE("a child gets the descriptors that it was given, and no others") {
  const UniqueFd given{::dup(STDERR_FILENO)};
  const UniqueFd leaked{::dup(STDERR_FILENO)};  // neither is close-on-exec
  const auto line = fmt::format("for f in {} {}; do [ ! -e /proc/self/fd/$f ] || echo $f >&2; done",
                                given.get(), leaked.get());
  auto child = ChildProcess::start({{"sh", "-c", line}, {}, {given.get()}});
  REQUIRE(child);
  CHECK(child->wait(seconds{5}));
  CHECK(child->complaints() == fmt::format("{}", given.get()));
}

TEST_CASE("a variable that is given takes the place of ours") {
  REQUIRE(::setenv("UNDERSTUDY_TEST_VARIABLE", "ours", 1) == 0);
  auto child = ChildProcess::start({{"sh", "-c", "env | grep ^UNDERSTUDY_TEST_VARIABLE >&2"},
                                    {"UNDERSTUDY_TEST_VARIABLE=given"},
                                    {}});
  REQUIRE(child);
  CHECK(child->wait(seconds{5}));
  CHECK(child->complaints() == "UNDERSTUDY_TEST_VARIABLE=given");
}

TEST_CASE("kill ends a child that ignores SIGTERM") {
  auto child =
      ChildProcess::start({{"sh", "-c", "trap '' TERM; while :; do sleep 1; done"}, {}, {}});
  REQUIRE(child);
  CHECK_FALSE(child->ended());
  const auto pid = child->pid();
  child->kill();
  CHECK(::kill(pid, 0) == -1);
}

TEST_CASE("a child dies with the thread that started it") {
  Result<ChildProcess> child = fail(ErrorKind::closed, "not started");
  std::thread owner{[&] { child = ChildProcess::start({{"sleep", "60"}, {}, {}}); }};
  owner.join();
  REQUIRE(child);
  CHECK(child->wait(seconds{5}));
}

TEST_CASE("a program that does not exist is an error that names it") {
  const auto child = ChildProcess::start({{"/nonexistent/program"}, {}, {}});
  REQUIRE_FALSE(child);
  CHECK(child.error().message == "/nonexistent/program cannot be run: No such file or directory");
}
