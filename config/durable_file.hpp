// A small file that is whole or not there: checksummed, replaced atomically, synchronised (fsync of
// the file and of its directory; see rename(2) and fsync(2)). Blocks as long as the disk does.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "config/result.hpp"

namespace understudy {

/// The file is the old one or the new one, whatever happens; the new one when this returns without
/// an error. After one of them it may be either, and may still change with a power loss.
[[nodiscard]] Result<> replace_durably(const std::string& path, std::string_view text);
/// It is not there any more, durably; the same.
[[nodiscard]] Result<> remove_durably(const std::string& path);

/// What was made or renamed there is found after a power loss, too.
[[nodiscard]] Result<> sync_directory_of(const std::string& path);

class DurableFile {
 public:
  /// `kind` is its first line, `limit` what a body may have in bytes.
  DurableFile(std::string path, std::string_view kind, std::size_t limit);

  /// nullopt: there is none. `invalid` when it is damaged; a copy beside it is kept then.
  [[nodiscard]] Result<std::optional<std::string>> load() const;
  [[nodiscard]] Result<> save(std::string_view body) const;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::string magic_;
  std::size_t limit_;
};

}  // namespace understudy
