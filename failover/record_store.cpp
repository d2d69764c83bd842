#include "failover/record_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include <xxhash.h>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/unique_fd.hpp"

namespace understudy::failover {
namespace {

constexpr std::string_view magic = "understudy record 1\n";
constexpr std::size_t checksum_bytes = 16;

/// Canonical bytes of XXH3-128: against torn writes and decay, not against malice.
std::string checksum(std::string_view text) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.data(), text.size()));
  std::string bytes(checksum_bytes, '\0');
  std::memcpy(bytes.data(), canonical.digest, checksum_bytes);
  return bytes;
}

std::optional<std::string> unwrap(std::string_view file) {
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

Result<> sync_directory(const std::string& path) {
  const UniqueFd directory{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!directory || ::fsync(directory.get()) != 0) return fail_errno(path);
  return {};
}

}  // namespace

RecordStore::RecordStore(std::string directory)
    : directory_{std::move(directory)}, path_{directory_ + "/record"} {}

Result<RecordStore> RecordStore::open(const std::string& directory) {
  std::error_code code;
  std::filesystem::create_directories(directory, code);
  if (!code) {
    std::filesystem::permissions(directory, std::filesystem::perms::owner_all, code);
  }
  if (code || ::access(directory.c_str(), W_OK | X_OK) != 0) {
    return fail(ErrorKind::io,
                "state_dir {} cannot be written ({}): who may run a guest must be remembered there",
                directory, code ? code.message() : std::strerror(errno));
  }
  return RecordStore{directory};
}

peer::Memory RecordStore::load() {
  peer::Memory memory;
  std::error_code code;
  if (!std::filesystem::exists(path_, code) && !code) return memory;
  std::ifstream file{path_, std::ios::binary};
  std::string text(limits::record_file_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  const auto body = text.size() <= limits::record_file_bytes ? unwrap(text) : std::nullopt;
  if (body && memory.ParseFromString(*body)) {
    stored_ = *body;
    return memory;
  }
  const auto aside = path_ + ".damaged";
  std::filesystem::copy_file(path_, aside, std::filesystem::copy_options::overwrite_existing, code);
  log::error("record.damaged", {log::kv("file", path_), log::kv("kept", aside)});
  memory.Clear();
  memory.set_damaged(true);
  return memory;
}

Result<> RecordStore::save(const peer::Memory& memory) {
  const auto body = memory.SerializeAsString();
  if (body == stored_) return {};
  auto text = std::string{magic} + body;
  text += checksum(text);
  const auto fresh = path_ + ".new";
  UNDERSTUDY_CHECK(write_durably(fresh, text));
  if (::rename(fresh.c_str(), path_.c_str()) != 0) return fail_errno(path_);
  UNDERSTUDY_CHECK(sync_directory(directory_));
  stored_ = body;
  return {};
}

}  // namespace understudy::failover
