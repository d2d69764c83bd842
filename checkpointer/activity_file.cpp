#include "checkpointer/activity_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/durable_file.hpp"

namespace understudy::checkpointer {

Result<> ActivityFile::need_directory() const {
  const auto directory = std::filesystem::path{path_}.parent_path();
  std::error_code code;
  std::filesystem::create_directories(directory, code);
  if (code) return fail_errno(directory.string(), code.value());
  return {};
}

Result<std::optional<std::vector<std::byte>>> ActivityFile::load() {
  std::error_code code;
  const auto bytes = std::filesystem::file_size(path_, code);
  if (code == std::errc::no_such_file_or_directory) return std::nullopt;
  if (code) return fail_errno(path_, code.value());
  if (bytes > activity_file_bytes_max()) return fail(ErrorKind::limit, "{} is too long", path_);
  std::ifstream file{path_, std::ios::binary};
  std::vector<std::byte> contents(bytes);
  // SAFETY: bytes may be written as char.
  file.read(reinterpret_cast<char*>(contents.data()), static_cast<std::streamsize>(bytes));
  if (!file) return fail(ErrorKind::io, "{} cannot be read", path_);
  return contents;
}

Result<> ActivityFile::replace(std::span<const std::byte> file) {
  file_.reset();
  UNDERSTUDY_CHECK(need_directory());
  // SAFETY: bytes may be read as char.
  UNDERSTUDY_CHECK(
      replace_durably(path_, {reinterpret_cast<const char*>(file.data()), file.size()}));
  file_ = UniqueFd{::open(path_.c_str(), O_RDWR | O_CLOEXEC)};
  if (!file_) return fail_errno(path_);
  return {};
}

Result<> ActivityFile::append(const ActivityBatch& batch) {
  auto place = static_cast<off_t>(batch.at);
  std::span<const std::byte> bytes{batch.bytes};
  while (!bytes.empty()) {
    const auto wrote = ::pwrite(file_.get(), bytes.data(), bytes.size(), place);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(path_);
    place += wrote;
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
  if (::fdatasync(file_.get()) != 0) return fail_errno(path_);
  return {};
}

Result<> ActivityFile::remove() {
  file_.reset();
  UNDERSTUDY_CHECK(need_directory());
  return remove_durably(path_);
}

}  // namespace understudy::checkpointer
