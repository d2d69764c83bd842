#include "hypervisor/child_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <string_view>

#include "config/assert.hpp"
#include "config/priority.hpp"

namespace understudy::hypervisor {
namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (auto& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

/// Each variable once: the dynamic linker would take the last of two, and others the first.
std::vector<std::string> merged_environment(const std::vector<std::string>& added) {
  const auto name_of = [](std::string_view entry) { return entry.substr(0, entry.find('=')); };
  std::vector<std::string> result = added;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const auto same = [&](const auto& one) { return name_of(one) == name_of(*entry); };
    if (std::ranges::none_of(added, same)) result.emplace_back(*entry);
  }
  return result;
}

struct Pipe {
  UniqueFd reading;
  UniqueFd writing;

  [[nodiscard]] static Result<Pipe> create(int flags) {
    std::array<int, 2> fds{};
    if (::pipe2(fds.data(), O_CLOEXEC | flags) != 0) return fail_errno("pipe");
    return Pipe{UniqueFd{fds[0]}, UniqueFd{fds[1]}};
  }
};

struct ChildPlan {
  char* const* command;
  char* const* environment;
  const std::vector<int>& inherited;
  Launch::Group group;
  int input;  ///< negative: none
  int errors;
  Output output;
  int obstacle;  ///< closed by a successful exec; else it carries errno
  pid_t parent;
};

/// Between fork and exec: async-signal-safe calls only, and nothing is allocated.
[[noreturn]] void become(const ChildPlan& plan) {
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // A daemon's real-time priority is not for its children: a guest's vCPUs would starve the host.
  leave_real_time();
  ::setpriority(PRIO_PROCESS, 0, 0);
  const bool orphaned = ::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != plan.parent;
  if (plan.group == Launch::Group::own) ::setsid();
  if (!orphaned) {
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(plan.input < 0 ? null : plan.input, STDIN_FILENO);
    ::dup2(plan.output == Output::dropped ? null : plan.errors, STDOUT_FILENO);
    ::dup2(plan.errors, STDERR_FILENO);
    // Libraries open descriptors that are not close-on-exec: one of DPDK's would keep a guest's
    // network alive after the daemon.
    ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    for (const int fd : plan.inherited) ::fcntl(fd, F_SETFD, 0);
    ::execvpe(plan.command[0], plan.command, plan.environment);
  }
  const int error = errno;
  [[maybe_unused]] const auto told = ::write(plan.obstacle, &error, sizeof error);
  ::_exit(127);
}

/// A file in memory that the child reads: however long it is, nobody waits for the reader.
Result<UniqueFd> input_of(const std::string& text) {
  if (text.empty()) return UniqueFd{};
  UniqueFd file{::memfd_create("stdin", MFD_CLOEXEC)};
  if (!file) return fail_errno("memfd_create");
  if (::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return fail_errno("a child's input");
  return file;
}

/// Waits until the child has become its program, or says why it could not.
Result<> wait_for_exec(const Pipe& obstacle, const std::string& program) {
  int error{};
  ssize_t got{};
  do {
    got = ::read(obstacle.reading.get(), &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return {};
  return fail(ErrorKind::unavailable, "{} cannot be run: {}", program,
              std::generic_category().message(error));
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const Launch& launch) {
  UNDERSTUDY_ASSERT(!launch.command.empty(), "a child needs a program");
  auto command = launch.command;
  auto environment = merged_environment(launch.environment);
  const auto command_pointers = pointers(command);
  const auto environment_pointers = pointers(environment);
  // Non-blocking at both ends: a child that talks too much loses words, not time.
  UNDERSTUDY_TRY(auto errors, Pipe::create(O_NONBLOCK));
  UNDERSTUDY_TRY(auto obstacle, Pipe::create(0));
  UNDERSTUDY_TRY(const auto input, input_of(launch.input));

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    become({command_pointers.data(), environment_pointers.data(), launch.inherited, launch.group,
            input.get(), errors.writing.get(), launch.output, obstacle.writing.get(), parent});
  }
  UniqueFd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  ChildProcess child{pid, launch.group, std::move(pidfd), std::move(errors.reading)};
  if (!child.pidfd_) return fail_errno("pidfd_open");
  obstacle.writing.reset();
  UNDERSTUDY_CHECK(wait_for_exec(obstacle, launch.command.front()));
  return child;
}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(group_, other.group_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(errors_, other.errors_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pidfd_) kill();
}

bool ChildProcess::ended() const {
  return wait(Duration{});
}

bool ChildProcess::wait(Duration patience) const {
  const auto deadline = now() + patience;
  pollfd waiting{pidfd_.get(), POLLIN, 0};
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(std::max(deadline - now(), Duration{}));
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

int ChildProcess::exit_status() {
  UNDERSTUDY_ASSERT(pidfd_, "there is a child");
  siginfo_t ended{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOWAIT) < 0 &&
         errno == EINTR) {
  }
  // What it left behind, while its number is still taken.
  if (group_ == Launch::Group::own) ::kill(-pid_, SIGKILL);
  int status{};
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pidfd_.reset();
  constexpr int by_signal = 128;
  return WIFEXITED(status) ? WEXITSTATUS(status) : by_signal + WTERMSIG(status);
}

void ChildProcess::kill() {
  if (!pidfd_) return;
  if (group_ == Launch::Group::own) ::kill(-pid_, SIGKILL);
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pidfd_.reset();
}

std::string ChildProcess::complaints() {
  std::string text;
  std::array<char, 4096> chunk;
  constexpr std::size_t enough = 64U << 10U;
  while (text.size() < enough) {
    const auto got = ::read(errors_.get(), chunk.data(), chunk.size());
    if (got <= 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace understudy::hypervisor
