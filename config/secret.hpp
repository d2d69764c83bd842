// What must be known to few: a key or a token out of a file that only its owner may read.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/result.hpp"

namespace understudy {

/// A file's bytes, wiped when they are no longer needed.
class Secret {
 public:
  struct Source {
    std::string_view what;  ///< in errors: "key"
    const std::string& file;
    std::size_t bytes;  ///< at least
    std::size_t bytes_max;
    std::string_view how_to_make;  ///< one sentence, with FILE for the file's name
  };
  /// Errors name the file and the remedy.
  [[nodiscard]] static Result<Secret> load(const Source& source);

  explicit Secret(std::vector<std::byte> bytes) : bytes_{std::move(bytes)} {}
  ~Secret();
  Secret(Secret&&) = default;
  Secret& operator=(Secret&&) = delete;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace understudy
