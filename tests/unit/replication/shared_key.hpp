// Credentials for tests, out of files that do not stay.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "config/unique_fd.hpp"
#include "replication/security.hpp"

namespace understudy::replication {

/// A file in the temporary directory, removed with the object.
class KeyFile {
 public:
  explicit KeyFile(const std::string& contents, ::mode_t mode = 0600) {
    const UniqueFd fd{::mkstemp(path_.data())};
    REQUIRE(fd);
    REQUIRE(::write(fd.get(), contents.data(), contents.size()) ==
            static_cast<::ssize_t>(contents.size()));
    REQUIRE(::fchmod(fd.get(), mode) == 0);
  }
  KeyFile(const KeyFile&) = delete;
  KeyFile& operator=(const KeyFile&) = delete;
  ~KeyFile() { ::unlink(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_{"/tmp/understudy-key-XXXXXX"};
};

/// The same for the same letter.
inline std::shared_ptr<const Credentials> key_of(char letter) {
  const KeyFile file{std::string(limits::shared_key_bytes, letter)};
  return Credentials::load(file.path()).value();
}

/// How a test's links are: without a key, or with one.
inline std::shared_ptr<const Credentials> in_clear() {
  return nullptr;
}
inline std::shared_ptr<const Credentials> with_key() {
  static const auto key = key_of('k');
  return key;
}

}  // namespace understudy::replication
