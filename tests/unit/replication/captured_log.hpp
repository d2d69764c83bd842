// What this process writes to its log, for a test to read.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>

#include "config/clock.hpp"
#include "config/unique_fd.hpp"

namespace understudy::replication {

/// Takes the place of stderr while it lives. Holds 64 KiB that nobody has read.
class CapturedLog {
 public:
  CapturedLog() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    read_ = UniqueFd{ends[0]};
    const UniqueFd write{ends[1]};
    before_ = UniqueFd{::dup(STDERR_FILENO)};
    ::dup2(write.get(), STDERR_FILENO);
  }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;
  ~CapturedLog() { ::dup2(before_.get(), STDERR_FILENO); }

  /// The next line that contains `text`, from the beginning of the text on; "" after 20 s. What
  /// comes before it is dropped.
  [[nodiscard]] std::string next(const std::string& text) {
    const auto until = now() + seconds{20};
    while (true) {
      while (const auto line = take_line()) {
        if (const auto at = line->find(text); at != std::string::npos) return line->substr(at);
      }
      const auto left = std::chrono::duration_cast<milliseconds>(until - now()).count();
      pollfd readable{read_.get(), POLLIN, 0};
      if (left <= 0 || ::poll(&readable, 1, static_cast<int>(left)) <= 0) return "";
      std::array<char, 4096> part{};
      const auto got = ::read(read_.get(), part.data(), part.size());
      if (got <= 0) return "";
      text_.append(part.data(), static_cast<std::size_t>(got));
    }
  }

 private:
  std::optional<std::string> take_line() {
    const auto end = text_.find('\n');
    if (end == std::string::npos) return std::nullopt;
    auto line = text_.substr(0, end);
    text_.erase(0, end + 1);
    return line;
  }

  UniqueFd read_;
  UniqueFd before_;
  std::string text_;
};

}  // namespace understudy::replication
