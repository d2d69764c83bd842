#include "config/durable_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/content_hash.hpp"
#include "config/log.hpp"
#include "config/unique_fd.hpp"

namespace understudy {
namespace {

constexpr auto checksum_bytes = ContentHash::bytes;

std::string checksum(std::string_view text) {
  return content_hash(std::as_bytes(std::span{text}));
}

std::optional<std::string> unwrap(std::string_view file, std::string_view magic) {
  if (!file.starts_with(magic) || file.size() < magic.size() + checksum_bytes) return std::nullopt;
  const auto body = file.substr(0, file.size() - checksum_bytes);
  if (checksum(body) != file.substr(body.size())) return std::nullopt;
  return std::string{body.substr(magic.size())};
}

Result<> write_durably(const std::string& path, std::string_view text) {
  const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  if (!file) return fail_errno(path);
  while (!text.empty()) {
    const auto wrote = ::write(file.get(), text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(path);
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (::fsync(file.get()) != 0) return fail_errno(path);
  return {};
}

}  // namespace

Result<> sync_directory_of(const std::string& path) {
  const auto parent = std::filesystem::path{path}.parent_path().string();
  const UniqueFd directory{::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!directory || ::fsync(directory.get()) != 0) return fail_errno(parent);
  return {};
}

Result<> replace_durably(const std::string& path, std::string_view text) {
  const auto fresh = path + ".new";
  UNDERSTUDY_CHECK(write_durably(fresh, text));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_errno(path);
  return sync_directory_of(path);
}

Result<> remove_durably(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(path);
  return sync_directory_of(path);
}

DurableFile::DurableFile(std::string path, std::string_view kind, std::size_t limit)
    : path_{std::move(path)}, magic_{fmt::format("{}\n", kind)}, limit_{limit} {}

Result<std::optional<std::string>> DurableFile::load() const {
  std::error_code code;
  if (!std::filesystem::exists(path_, code) && !code) return std::nullopt;
  const auto most = limit_ + magic_.size() + checksum_bytes;
  std::ifstream file{path_, std::ios::binary};
  std::string text(most + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (auto body = text.size() <= most ? unwrap(text, magic_) : std::nullopt) return body;
  const auto aside = path_ + ".damaged";
  std::filesystem::copy_file(path_, aside, std::filesystem::copy_options::overwrite_existing, code);
  return fail(ErrorKind::invalid, "{} is damaged; a copy is in {}", path_, aside);
}

Result<> DurableFile::save(std::string_view body) const {
  if (body.size() > limit_) {
    return fail(ErrorKind::limit, "{}: more than {} bytes", path_, limit_);
  }
  auto text = magic_ + std::string{body};
  text += checksum(text);
  return replace_durably(path_, text);
}

}  // namespace understudy
