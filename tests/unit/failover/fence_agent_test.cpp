#include "failover/fence_agent.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <future>

#include "config/clock.hpp"
#include "temporary_directory.hpp"

namespace understudy::failover {
namespace {

/// Runs an agent that is this shell script.
Result<> answer_of(const std::string& script, const std::string& action = "off") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "agent";
  std::ofstream{path} << "#!/bin/sh\n" << script;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  config::Fencing settings;
  settings.set_agent(path);
  settings.set_action(action);
  settings.set_timeout_s(1);
  settings.add_option("ip=10.1.0.1");
  settings.add_option("password=opensesame");
  FenceAgent agent{"a", settings};
  std::promise<Result<>> outcome;
  agent.start([&](Result<> result) { outcome.set_value(std::move(result)); });
  return outcome.get_future().get();
}

TEST_CASE("an agent gets its options on stdin, and is believed when the power is off",
          "[fencing]") {
  const std::string reads =
      "while IFS= read -r line; do case $line in action=*) action=${line#*=};; "
      "ip=10.1.0.1|nodename=a|password=opensesame) n=$((n+1));; esac; done; [ $n = 3 ] || exit 1; ";
  CHECK(answer_of(reads + "[ $action = status ] && exit 2; [ $action = off ]"));
  CHECK(answer_of(reads + "[ $action = reboot ]", "reboot"));
  CHECK_FALSE(answer_of(reads + "exit 0"));  // off, it says, and on
}

TEST_CASE("an agent's failure is told without its password", "[fencing]") {
  const auto failed = answer_of("echo first >&2; echo login with opensesame refused >&2; exit 1");
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message.find("off: login with *** refused") != std::string::npos);
  CHECK(answer_of("exit 7").error().message.find("exit status 7") != std::string::npos);
}

TEST_CASE("an agent that hangs is killed with all that it started", "[fencing]") {
  const auto before = now();
  const auto hung = answer_of("sleep 30 & sleep 30");
  REQUIRE_FALSE(hung);
  CHECK(hung.error().kind == ErrorKind::timed_out);
  CHECK(now() - before < seconds{15});
}

TEST_CASE("a real agent of Debian's fence-agents understands us", "[fencing]") {
  const auto* given = std::getenv("UNDERSTUDY_FENCE_DUMMY");
  const std::string dummy = given != nullptr ? given : "/usr/sbin/fence_dummy";
  if (!std::filesystem::exists(dummy)) {
    WARN("skipped: " << dummy << " of the package fence-agents is not there");
    return;
  }
  const TemporaryDirectory directory;
  const auto power = directory.path() / "power";
  std::ofstream{power} << "on";
  config::Fencing settings;
  settings.set_agent(dummy);
  settings.set_action("off");
  settings.set_timeout_s(60);
  settings.add_option("type=file");
  settings.add_option("status_file=" + power.string());
  FenceAgent agent{"a", settings};
  std::promise<Result<>> outcome;
  agent.start([&](Result<> result) { outcome.set_value(std::move(result)); });
  const auto result = outcome.get_future().get();
  INFO((result ? "" : result.error().message));
  CHECK(result);
  std::string now;
  std::ifstream{power} >> now;
  CHECK(now == "off");
}

TEST_CASE("an agent that is not there says so", "[fencing]") {
  config::Fencing settings;
  settings.set_agent("/nowhere/fence_none");
  settings.set_timeout_s(1);
  FenceAgent agent{"a", settings};
  std::promise<Result<>> outcome;
  agent.start([&](Result<> result) { outcome.set_value(std::move(result)); });
  const auto result = outcome.get_future().get();
  REQUIRE_FALSE(result);
  CHECK(result.error().message.find("/nowhere/fence_none cannot be run") != std::string::npos);
}

}  // namespace
}  // namespace understudy::failover
