// A child that dies with us.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::hypervisor {

/// What becomes of a child's standard output.
enum class Output : std::uint8_t { dropped, with_errors };

struct Launch {
  std::vector<std::string> command;      ///< an absolute path or a name in PATH, then the arguments
  std::vector<std::string> environment;  ///< NAME=value; the others are as ours
  std::vector<int> inherited;            ///< descriptors that the child gets under the same numbers
  Output output{Output::dropped};
  std::string input{};  ///< what it reads from stdin; empty: nothing
  enum class Group : std::uint8_t { ours, own };
  Group group{Group::ours};  ///< own: what it starts in turn is killed with it
};

/// Killed when this object dies, and by the kernel (PR_SET_PDEATHSIG) when the thread that started
/// it ends, however that happens: call `start` on a thread that lives as long as the child should.
class ChildProcess {
 public:
  [[nodiscard]] static Result<ChildProcess> start(const Launch& launch);

  ChildProcess(ChildProcess&& other) noexcept = default;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Readable once the child has ended.
  [[nodiscard]] int exit_fd() const { return pidfd_.get(); }
  [[nodiscard]] bool ended() const;
  [[nodiscard]] bool wait(Duration patience) const;
  /// Waits for its end: the exit status, or 128 and the number of the signal that ended it.
  [[nodiscard]] int exit_status();
  /// SIGKILL, and waits: afterwards no instruction of the child is executed any more.
  void kill();
  /// What it last wrote to stderr (bounded), for error messages; each call returns what is new.
  [[nodiscard]] std::string complaints();

 private:
  ChildProcess(pid_t pid, Launch::Group group, UniqueFd pidfd, UniqueFd errors)
      : pid_{pid}, group_{group}, pidfd_{std::move(pidfd)}, errors_{std::move(errors)} {}

  pid_t pid_;
  Launch::Group group_;
  UniqueFd pidfd_;
  UniqueFd errors_;
};

}  // namespace understudy::hypervisor
