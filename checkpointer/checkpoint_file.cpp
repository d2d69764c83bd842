#include "checkpointer/checkpoint_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <thread>
#include <utility>

#include "config/clock.hpp"
#include "config/durable_file.hpp"
#include "config/file_space.hpp"
#include "config/limits.hpp"
#include "config/unique_fd.hpp"

namespace understudy::checkpointer {
namespace {

constexpr auto tell_period = milliseconds{100};
constexpr mode_t only_ours = 0600;
constexpr std::uint64_t pages_between_looks = limits::checkpoint_block_bytes / page_bytes;
constexpr std::uint64_t chunks_between_looks =
    limits::checkpoint_block_bytes / limits::disk_chunk_bytes;

std::string directory_of(const std::string& path) {
  return std::filesystem::path{path}.parent_path().string();
}

Result<> check_room(int file, const std::string& where) {
  const auto free = free_bytes(file);
  if (!free) return fail_errno(where);
  if (*free >= limits::clone_disk_reserve) return {};
  return fail(ErrorKind::limit,
              "{} has {} MiB left, and {} MiB are left free there; export to another file system",
              where, *free >> 20U, limits::clone_disk_reserve >> 20U);
}

/// Of this thread: what a disk is waited for takes nothing from anybody.
Duration processor_time() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

/// Rests and asks, between pieces of work.
class Pace {
 public:
  explicit Pace(const CheckpointProgress& progress) : progress_{progress} {}
  [[nodiscard]] Result<> next(const std::string& step, double fraction) {
    const auto at = now();
    if (progress_.tell && at - told_ > tell_period) {
      progress_.tell(step, fraction);
      told_ = at;
    }
    const auto used = processor_time();
    std::this_thread::sleep_for((used - used_before_) * progress_.rest);
    used_before_ = used;
    return progress_.go_on ? progress_.go_on() : Result<>{};
  }

 private:
  const CheckpointProgress& progress_;
  Duration used_before_{processor_time()};
  TimePoint told_;
};

/// A file that has no name until it is whole.
class Unnamed {
 public:
  [[nodiscard]] static Result<Unnamed> create(const std::string& path) {
    const auto directory = directory_of(path);
    UniqueFd file{::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, only_ours)};
    if (!file) return fail_errno(fmt::format("a file in {}", directory));
    UNDERSTUDY_CHECK(check_room(file.get(), directory));
    return Unnamed{path, std::move(file)};
  }

  [[nodiscard]] Result<> write(std::span<const std::byte> bytes) {
    unsynced_ += bytes.size();
    while (!bytes.empty()) {
      const auto put = ::write(file_.get(), bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return fail_errno(path_);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    if (unsynced_ < limits::checkpoint_sync_bytes) return {};
    unsynced_ = 0;
    if (::fdatasync(file_.get()) != 0) return fail_errno(path_);
    return check_room(file_.get(), directory_of(path_));
  }

  [[nodiscard]] Result<> name(IfThere if_there) {
    if (::fsync(file_.get()) != 0) return fail_errno(path_);
    const auto target = if_there == IfThere::replace ? beside() : path_;
    if (if_there == IfThere::replace) ::unlink(target.c_str());
    const auto self = fmt::format("/proc/self/fd/{}", file_.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, target.c_str(), AT_SYMLINK_FOLLOW) != 0)
      return fail_errno(path_);
    if (target != path_ && ::rename(target.c_str(), path_.c_str()) != 0) {
      const auto failed = fail_errno(path_);
      ::unlink(target.c_str());
      return failed;
    }
    return sync_directory_of(path_);
  }

 private:
  Unnamed(std::string path, UniqueFd file) : path_{std::move(path)}, file_{std::move(file)} {}

  [[nodiscard]] std::string beside() const {
    return fmt::format("{}/.understudy-{}.new", directory_of(path_), ::getpid());
  }

  std::string path_;
  UniqueFd file_;
  std::size_t unsynced_{};
};

class Writer {
 public:
  Writer(CheckpointSource& source, Unnamed& file, const CheckpointProgress& progress)
      : source_{source},
        encoder_{[&file](auto bytes) { return file.write(bytes); }},
        pace_{progress} {}

  [[nodiscard]] Result<CheckpointCounts> write() {
    for (const auto bytes : source_.about().machine().disk_bytes()) all_ += bytes;
    all_ += source_.memory().size();
    UNDERSTUDY_CHECK(encoder_.begin(source_.about(), source_.devices()));
    UNDERSTUDY_CHECK(write_memory());
    for (int i = 0; i < source_.about().machine().disk_bytes_size(); ++i) {
      UNDERSTUDY_CHECK(
          write_disk(static_cast<std::size_t>(i), source_.about().machine().disk_bytes(i)));
    }
    UNDERSTUDY_CHECK(encoder_.end());
    return encoder_.counts();
  }

 private:
  [[nodiscard]] Result<> look() {
    return pace_.next("writing the checkpoint",
                      static_cast<double>(done_) / static_cast<double>(all_));
  }

  [[nodiscard]] Result<> write_memory() {
    const auto memory = source_.memory();
    std::uint64_t held = 0;
    for (std::size_t at = 0; at < memory.size(); at += page_bytes, done_ += page_bytes) {
      const PageIndex page{at / page_bytes};
      if (!source_.may_hold(page)) continue;
      UNDERSTUDY_CHECK(encoder_.add_page(page, memory.subspan(at).first<page_bytes>()));
      if (++held % pages_between_looks == 0) UNDERSTUDY_CHECK(look());
    }
    return look();
  }

  [[nodiscard]] Result<> write_disk(std::size_t disk, std::uint64_t bytes) {
    std::vector<std::byte> chunk;
    const auto before = done_;
    for (std::uint64_t at = 0; at < bytes; at += chunk.size()) {
      const auto data = std::min(source_.next_data(disk, at), bytes);
      at = data - data % limits::disk_chunk_bytes;
      done_ = before + at;
      if (data == bytes) break;
      chunk.resize(
          static_cast<std::size_t>(std::min<std::uint64_t>(limits::disk_chunk_bytes, bytes - at)));
      if (const auto error = source_.read_disk(disk, at, chunk))
        return fail(ErrorKind::io, "disk {} of the replica: {}", disk, error.message());
      UNDERSTUDY_CHECK(encoder_.add_chunk(disk, at / limits::disk_chunk_bytes, chunk));
      if (++read_ % chunks_between_looks == 0) UNDERSTUDY_CHECK(look());
    }
    done_ = before + bytes;
    return {};
  }

  CheckpointSource& source_;
  CheckpointEncoder encoder_;
  Pace pace_;
  std::uint64_t all_{};
  std::uint64_t done_{};
  std::uint64_t read_{};  ///< chunks of disks
};

/// For whom the contents do not matter.
class NoSink final : public CheckpointSink {
 public:
  explicit NoSink(Checkpoint& about) : about_{about} {}
  Result<> begin(const Checkpoint& about) override {
    about_ = about;
    return {};
  }
  Result<> devices(std::span<const std::byte> /*piece*/) override { return {}; }
  Result<> page(PageIndex /*page*/, ConstPage /*contents*/) override { return {}; }
  Result<> disk(std::size_t /*disk*/, std::uint64_t /*offset*/,
                std::span<const std::byte> /*contents*/) override {
    return {};
  }

 private:
  Checkpoint& about_;
};

/// Everything asked for, or what is left of the file.
Result<std::size_t> read_all(int file, std::span<std::byte> out, const std::string& path) {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto got = ::read(file, out.data() + done, out.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(path);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

/// By its beginning. Another guest's disk is replaced by nobody's mistake.
bool is_checkpoint(const std::string& path) {
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  std::array<std::byte, sizeof checkpoint_magic> head{};
  return file && ::read(file.get(), head.data(), head.size()) == sizeof checkpoint_magic &&
         std::memcmp(head.data(), &checkpoint_magic, sizeof checkpoint_magic) == 0;
}

}  // namespace

Result<> check_checkpoint_path(const std::string& path, IfThere if_there) {
  if (!path.starts_with('/') || path.ends_with('/') || path.size() > limits::checkpoint_path_bytes)
    return fail(ErrorKind::invalid, "the file is to be named by its whole path");
  struct stat about {};
  if (::lstat(path.c_str(), &about) == 0) {
    if (if_there == IfThere::refuse) {
      return fail(ErrorKind::conflict, "{} is there already; --force replaces it", path);
    }
    if (!S_ISREG(about.st_mode))
      return fail(ErrorKind::invalid, "{} is no file that could be replaced", path);
    if (!is_checkpoint(path))
      return fail(ErrorKind::invalid, "{} is no checkpoint, and is not replaced", path);
  } else if (errno != ENOENT) {
    return fail_errno(path);
  }
  return Unnamed::create(path).map([](const auto&) {});
}

Result<CheckpointCounts> write_checkpoint(CheckpointSource& source, const std::string& path,
                                          IfThere if_there, const CheckpointProgress& progress) {
  UNDERSTUDY_CHECK(check_checkpoint_path(path, if_there));
  UNDERSTUDY_TRY(auto file, Unnamed::create(path));
  UNDERSTUDY_TRY(const auto counts, Writer(source, file, progress).write());
  if (progress.go_on) UNDERSTUDY_CHECK(progress.go_on());
  UNDERSTUDY_CHECK(file.name(if_there));
  return counts;
}

Result<CheckpointCounts> read_checkpoint(const std::string& path, CheckpointSink& sink,
                                         const CheckpointProgress& progress) {
  // A pipe would be waited for: there is none to be read here.
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat about {};
  if (!file || ::fstat(file.get(), &about) != 0) return fail_errno(path);
  if (!S_ISREG(about.st_mode)) return fail(ErrorKind::invalid, "{} is no file", path);
  const auto size = static_cast<double>(std::max<off_t>(about.st_size, 1));
  const auto remedy = [&](const Error& error) {
    return error.kind == ErrorKind::invalid
               ? fail(ErrorKind::invalid, "{}: {}", path, error.message)
               : fail(error);
  };
  Pace pace{progress};
  CheckpointDecoder decoder{sink};
  std::vector<std::byte> bytes;
  while (decoder.wanted() > 0) {
    bytes.resize(decoder.wanted());
    UNDERSTUDY_TRY(const auto got, read_all(file.get(), bytes, path));
    if (got < bytes.size()) {
      return remedy({ErrorKind::invalid,
                     fmt::format("it was cut off, or its writing did not end: {} bytes of a block "
                                 "of {} are there; copy it anew from where it was exported",
                                 got, bytes.size())});
    }
    if (const auto taken = decoder.take(bytes); !taken) return remedy(taken.error());
    UNDERSTUDY_CHECK(
        pace.next("reading the checkpoint", static_cast<double>(decoder.counts().bytes) / size));
  }
  std::byte more{};
  UNDERSTUDY_TRY(const auto got, read_all(file.get(), {&more, 1}, path));
  if (got > 0) return remedy({ErrorKind::invalid, "something follows its end"});
  return decoder.counts();
}

Result<Checkpoint> check_checkpoint(const std::string& path, const CheckpointProgress& progress) {
  Checkpoint about;
  NoSink sink{about};
  UNDERSTUDY_CHECK(read_checkpoint(path, sink, progress));
  return about;
}

}  // namespace understudy::checkpointer
