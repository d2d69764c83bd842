#include "config/file_space.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>

namespace understudy {
namespace {

std::uint64_t free_in(const struct statvfs& about) {
  return std::uint64_t{about.f_bavail} * about.f_frsize;
}

std::uint64_t allocated_in(const struct stat& about) {
  constexpr std::uint64_t unit = 512;
  return static_cast<std::uint64_t>(about.st_blocks) * unit;
}

}  // namespace

std::optional<std::uint64_t> free_bytes(int file) {
  struct statvfs about {};
  if (::fstatvfs(file, &about) != 0) return std::nullopt;
  return free_in(about);
}

std::optional<std::uint64_t> free_bytes(const std::string& path) {
  struct statvfs about {};
  if (::statvfs(path.c_str(), &about) != 0) return std::nullopt;
  return free_in(about);
}

std::uint64_t allocated_bytes(int file) {
  struct stat about {};
  return ::fstat(file, &about) == 0 ? allocated_in(about) : 0;
}

std::uint64_t allocated_bytes(const std::string& path) {
  struct stat about {};
  return ::stat(path.c_str(), &about) == 0 ? allocated_in(about) : 0;
}

}  // namespace understudy
