#include "failover/fence_agent.hpp"

#include <algorithm>
#include <array>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "hypervisor/child_process.hpp"

namespace understudy::failover {
namespace {

constexpr int status_off = 2;

bool is_secret(std::string_view option) {
  constexpr std::array<std::string_view, 5> words{"pass", "secret", "token", "key", "community"};
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
    return option.find(word) != std::string_view::npos;
  });
}

/// The last line says what is wrong; the ones before it how the agent came there.
std::string last_line(const std::string& text) {
  const auto end = text.find_last_not_of(" \r\n");
  if (end == std::string::npos) return {};
  const auto start = text.find_last_of('\n', end);
  auto line = text.substr(start == std::string::npos ? 0 : start + 1, end - start);
  return line.substr(0, limits::fencing_message_bytes);
}

}  // namespace

FenceAgent::FenceAgent(std::string host, config::Fencing settings)
    : host_{std::move(host)}, settings_{std::move(settings)} {}

FenceAgent::~FenceAgent() {
  end();
}

void FenceAgent::end() {
  ended_ = true;
  if (thread_.joinable()) thread_.join();
  ended_ = false;
}

void FenceAgent::start(std::function<void(Result<>)> done) {
  end();
  thread_ = std::thread{[this, done = std::move(done)] { done(kill_host()); }};
}

/// An agent that says `off` was done has asked the switch; we ask it once more, for all depends on
/// it. After a reboot the host may be on again.
Result<> FenceAgent::kill_host() {
  UNDERSTUDY_TRY(const auto answer, run(settings_.action()));
  if (answer != 0) return fail(ErrorKind::io, "exit status {}", answer);
  if (settings_.action() != "off") return {};
  const auto deadline = now() + seconds{settings_.timeout_s()};
  while (true) {
    UNDERSTUDY_TRY(const auto power, run("status"));
    if (power == status_off) return {};
    if (now() > deadline)
      return fail(ErrorKind::io, "it says that {} was switched off, and still is on", host_);
    for (auto wait = Duration{}; wait < limits::fencing_status && !ended_;
         wait += limits::fencing_poll)
      std::this_thread::sleep_for(limits::fencing_poll);
  }
}

Result<int> FenceAgent::run(const std::string& action) {
  hypervisor::Launch launch;
  launch.command = {settings_.agent()};
  launch.input = input(action);
  launch.group = hypervisor::Launch::Group::own;
  UNDERSTUDY_TRY(auto child, hypervisor::ChildProcess::start(launch));
  const auto deadline = now() + seconds{settings_.timeout_s()};
  std::string said;
  while (!child.wait(limits::fencing_poll)) {
    if (const auto more = child.complaints(); !more.empty()) said = more;
    if (ended_) return fail(ErrorKind::closed, "ended");
    if (now() > deadline) {
      return fail(ErrorKind::timed_out, "{} {}: no answer within {} s", settings_.agent(), action,
                  settings_.timeout_s());
    }
  }
  if (const auto more = child.complaints(); !more.empty()) said = more;
  const int status = child.exit_status();
  if (status == 0 || (action == "status" && status == status_off)) return status;
  const auto why = last_line(without_secrets(said));
  return fail(ErrorKind::io, "{} {}: {}", settings_.agent(), action,
              why.empty() ? fmt::format("exit status {}", status) : why);
}

std::string FenceAgent::input(const std::string& action) const {
  auto text = fmt::format("action={}\nnodename={}\n", action, host_);
  for (const auto& option : settings_.option()) text += option + "\n";
  return text;
}

std::string FenceAgent::without_secrets(std::string text) const {
  for (const auto& option : settings_.option()) {
    const auto middle = option.find('=');
    const auto value = option.substr(middle + 1);
    if (value.empty() || !is_secret(option.substr(0, middle))) continue;
    for (auto at = text.find(value); at != std::string::npos; at = text.find(value, at + 3))
      text.replace(at, value.size(), "***");
  }
  return text;
}

}  // namespace understudy::failover
