// Room on file systems, in bytes: statvfs(3), stat(2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace understudy {

/// What the file system of this file, or of what is at this path, has left for us. nullopt: errno
/// says why it is not known.
[[nodiscard]] std::optional<std::uint64_t> free_bytes(int file);
[[nodiscard]] std::optional<std::uint64_t> free_bytes(const std::string& path);

/// What a file takes there, holes left out; 0 where there is none.
[[nodiscard]] std::uint64_t allocated_bytes(int file);
[[nodiscard]] std::uint64_t allocated_bytes(const std::string& path);

}  // namespace understudy
