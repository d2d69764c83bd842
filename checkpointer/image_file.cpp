#include "checkpointer/image_file.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace understudy::checkpointer {
namespace {

constexpr std::uint64_t sector_bytes = 512;
constexpr std::size_t zeros_bytes = 64U << 10U;

std::error_code last_error() {
  return {errno, std::generic_category()};
}

/// The format that an image's first bytes name, for images that are not raw.
std::string_view foreign_format(int file) {
  std::array<char, 4> start{};
  if (::pread(file, start.data(), start.size(), 0) != std::ssize(start)) return {};
  const std::string_view magic{start.data(), start.size()};
  if (magic == "QFI\xfb") return "qcow2";
  if (magic == "KDMV") return "vmdk";
  if (magic == std::string_view{"QED\0", 4}) return "qed";
  if (magic == "vhdx") return "vhdx";
  return {};
}

Result<std::uint64_t> size_of(int file, const std::string& path) {
  struct stat about {};
  if (::fstat(file, &about) != 0) return fail_errno(path);
  if (S_ISREG(about.st_mode)) return static_cast<std::uint64_t>(about.st_size);
  std::uint64_t bytes{};
  // SAFETY: writes one 64-bit number, as linux/fs.h says.
  if (S_ISBLK(about.st_mode) && ::ioctl(file, BLKGETSIZE64, &bytes) == 0) return bytes;
  return fail(ErrorKind::invalid, "{} is neither a file nor a block device", path);
}

/// Counted before, a write would be taken for flushed by a flush that had begun before its bytes
/// were there.
class CountAtEnd {
 public:
  explicit CountAtEnd(std::atomic<std::uint64_t>& count) : count_{count} {}
  ~CountAtEnd() { ++count_; }
  CountAtEnd(const CountAtEnd&) = delete;
  CountAtEnd& operator=(const CountAtEnd&) = delete;

 private:
  std::atomic<std::uint64_t>& count_;
};

}  // namespace

Result<std::unique_ptr<ImageFile>> ImageFile::open(const std::string& path) {
  UniqueFd file{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
  if (!file) return fail(fail_errno(path).value().within("disk image"));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorKind::conflict, "disk image {} is in use by another guest or program", path);
  }
  if (const auto format = foreign_format(file.get()); !format.empty()) {
    return fail(ErrorKind::invalid,
                "disk image {0} is a {1} image and only raw ones are supported; convert it: "
                "qemu-img convert -O raw {0} {0}.raw",
                path, format);
  }
  UNDERSTUDY_TRY(const auto bytes, size_of(file.get(), path));
  if (bytes == 0 || bytes % sector_bytes != 0) {
    return fail(ErrorKind::invalid, "disk image {} has {} bytes; a disk has whole sectors of {}",
                path, bytes, sector_bytes);
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::unique_ptr<ImageFile>{new ImageFile{path, std::move(file), bytes}};
}

Result<ImageIdentity> ImageFile::identity() const {
  struct statx about {};
  if (::statx(file_.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &about) != 0)
    return fail_errno(path_);
  const auto nanoseconds = [](const statx_timestamp& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U + time.tv_nsec;
  };
  if (S_ISBLK(about.stx_mode)) {
    const auto number = std::uint64_t{about.stx_rdev_major} << 32U | about.stx_rdev_minor;
    return ImageIdentity{bytes_, number, 0, 0};
  }
  const bool born = (about.stx_mask & STATX_BTIME) != 0;
  return ImageIdentity{bytes_, about.stx_ino, born ? nanoseconds(about.stx_btime) : 0,
                       nanoseconds(about.stx_mtime)};
}

std::error_code ImageFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const auto got = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return last_error();
    if (got == 0) return std::make_error_code(std::errc::io_error);  // it was made shorter
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

std::uint64_t ImageFile::next_data(std::uint64_t offset) const {
  const auto found = ::lseek(file_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (found >= 0) return static_cast<std::uint64_t>(found);
  return errno == ENXIO ? bytes_ : offset;
}

std::error_code ImageFile::write(std::uint64_t offset, std::span<const std::byte> data) {
  const CountAtEnd counted{written_};
  while (!data.empty()) {
    const auto put = ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return last_error();
    data = data.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

std::error_code ImageFile::zero(std::uint64_t offset, std::uint64_t bytes, Hole hole) {
  const CountAtEnd counted{written_};
  const int mode = hole == Hole::allowed ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
  if (::fallocate(file_.get(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(bytes)) == 0) {
    return {};
  }
  if (errno != EOPNOTSUPP && errno != EINVAL) return last_error();
  return write_zeros(offset, bytes);
}

std::error_code ImageFile::write_zeros(std::uint64_t offset, std::uint64_t bytes) {
  static constexpr std::array<std::byte, zeros_bytes> zeros{};
  while (bytes > 0) {
    const auto size = std::min<std::uint64_t>(bytes, zeros.size());
    if (const auto error = write(offset, std::span{zeros}.first(size))) return error;
    offset += size;
    bytes -= size;
  }
  return {};
}

std::error_code ImageFile::flush() {
  const auto before = written_.load();
  const std::lock_guard lock{flush_mutex_};
  if (broken_ || flushed_ >= before) return broken_;
  const auto covers = written_.load();
  if (::fdatasync(file_.get()) != 0) return broken_ = last_error();
  flushed_ = covers;
  return {};
}

}  // namespace understudy::checkpointer
