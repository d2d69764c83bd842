#include "checkpointer/disk_journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>

#include <xxhash.h>

#include "config/limits.hpp"
#include "replication/little_endian.hpp"

namespace understudy::checkpointer {
namespace {

using replication::get;
using replication::put;
using Parts = std::span<const std::span<const std::byte>>;

constexpr std::uint64_t magic = 0x31304a4459445355;  // "USDYDJ01"
constexpr std::size_t body_bytes_at = 8;
constexpr std::size_t checksum_at = 16;
constexpr std::size_t head_bytes = 32;

/// The most that a batch can have: a queue that was not full when the last epoch came.
constexpr std::uint64_t bytes_max = 2 * limits::disk_epoch_bytes_max + limits::disk_queue_bytes;

using Head = std::array<std::byte, head_bytes>;

Head make_head(Parts parts) {
  std::uint64_t bytes = 0;
  for (const auto& part : parts) bytes += part.size();
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state{XXH3_createState(),
                                                                       XXH3_freeState};
  XXH3_128bits_reset_withSeed(state.get(), bytes);
  for (const auto& part : parts) XXH3_128bits_update(state.get(), part.data(), part.size());
  const auto sum = XXH3_128bits_digest(state.get());
  Head head{};
  put(head, 0, magic);
  put(head, body_bytes_at, bytes);
  put(head, checksum_at, sum.low64);
  put(head, checksum_at + sizeof sum.low64, sum.high64);
  return head;
}

Result<> write_at(int file, const std::string& path, off_t& at, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto wrote = ::pwrite(file, bytes.data(), bytes.size(), at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno(path);
    at += wrote;
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
  return {};
}

bool read_at(int file, off_t at, std::span<std::byte> out) {
  while (!out.empty()) {
    const auto got = ::pread(file, out.data(), out.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

}  // namespace

Result<DiskJournal> DiskJournal::open(const std::string& path) {
  std::error_code code;
  std::filesystem::create_directories(std::filesystem::path{path}.parent_path(), code);
  UniqueFd file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (!file) return fail_errno(path);
  return DiskJournal{path, std::move(file)};
}

Result<> DiskJournal::write(Parts parts) {
  const auto head = make_head(parts);
  off_t at = 0;
  UNDERSTUDY_CHECK(write_at(file_.get(), path_, at, head));
  for (const auto& part : parts) UNDERSTUDY_CHECK(write_at(file_.get(), path_, at, part));
  if (::fdatasync(file_.get()) != 0) return fail_errno(path_);
  return {};
}

Result<std::optional<std::vector<std::byte>>> DiskJournal::load() const {
  Head head{};
  struct stat about {};
  if (::fstat(file_.get(), &about) != 0) return fail_errno(path_);
  const auto size = static_cast<std::uint64_t>(about.st_size);
  if (size < head_bytes || !read_at(file_.get(), 0, head)) return std::nullopt;
  const auto bytes = get<std::uint64_t>(head, body_bytes_at);
  if (get<std::uint64_t>(head, 0) != magic || bytes > std::min(bytes_max, size - head_bytes))
    return std::nullopt;
  std::vector<std::byte> records(bytes);
  if (!read_at(file_.get(), head_bytes, records)) return std::nullopt;
  const std::span<const std::byte> all{records};
  if (make_head({&all, 1}) != head) return std::nullopt;
  return records;
}

Result<> DiskJournal::forget() {
  off_t at = 0;
  return write_at(file_.get(), path_, at, Head{});
}

Result<> DiskJournal::clear() {
  if (::ftruncate(file_.get(), 0) != 0 || ::fsync(file_.get()) != 0) return fail_errno(path_);
  return {};
}

}  // namespace understudy::checkpointer
