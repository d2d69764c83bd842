// Whether a Linux interface carries, told by the kernel (rtnetlink(7)) rather than asked for. It
// watches the network namespace of the thread that opened it.
#pragma once

#include <optional>
#include <string>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy {

class LinkWatch {
 public:
  [[nodiscard]] static Result<LinkWatch> open(const std::string& interface);

  /// Readable when something about some interface has changed.
  [[nodiscard]] int fd() const { return news_.get(); }
  /// Takes the news away.
  void drain();

  /// Up, and its cable is plugged in. False for ever when the interface was removed.
  [[nodiscard]] bool carries() const;
  [[nodiscard]] bool exists() const { return flags().has_value(); }

 private:
  LinkWatch() = default;
  [[nodiscard]] std::optional<int> flags() const;
  std::string interface_;
  UniqueFd news_;
  UniqueFd control_;
};

}  // namespace understudy
