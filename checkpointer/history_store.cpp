#include "checkpointer/history_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <utility>

#include <xxhash.h>

#include "config/file_space.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

std::uint64_t hash_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace

Result<std::shared_ptr<HistoryStore>> HistoryStore::create(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  UniqueFd file{::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  if (!file) return fail_errno(fmt::format("a file for the history in {}", directory));
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::shared_ptr<HistoryStore>{new HistoryStore{std::move(file)}};
}

Result<HistoryStore::PiecePointer> HistoryStore::put(std::span<const std::byte> contents) {
  const auto room = free_bytes(file_.get());
  if (!room) return fail_errno("the history's file system");
  if (*room < limits::clone_disk_reserve + contents.size()) {
    return fail(ErrorKind::limit, "the file system of the history is almost full");
  }
  const auto offset = take(contents.size());
  auto piece =
      std::make_shared<const Piece>(shared_from_this(), offset, contents.size(), hash_of(contents));
  for (auto at = offset; !contents.empty();) {
    const auto done =
        ::pwrite(file_.get(), contents.data(), contents.size(), static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno("the history's file");
    at += static_cast<std::uint64_t>(done);
    contents = contents.subspan(static_cast<std::size_t>(done));
  }
  return piece;
}

/// The first gap that is large enough, or the file's end.
std::uint64_t HistoryStore::take(std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  for (auto gap = free_.begin(); gap != free_.end(); ++gap) {
    const auto [offset, room] = *gap;
    if (room < bytes) continue;
    free_.erase(gap);
    if (room > bytes) free_.emplace(offset + bytes, room - bytes);
    return offset;
  }
  return std::exchange(end_, end_ + bytes);
}

void HistoryStore::give_back(std::uint64_t offset, std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  if (bytes == 0) return;
  auto gap = free_.emplace(offset, bytes).first;
  if (const auto next = std::next(gap); next != free_.end() && next->first == offset + bytes) {
    gap->second += next->second;
    free_.erase(next);
  }
  if (gap != free_.begin()) {
    const auto before = std::prev(gap);
    if (before->first + before->second == gap->first) {
      before->second += gap->second;
      free_.erase(gap);
      gap = before;
    }
  }
  // At the end the file gets shorter; elsewhere it gets a hole.
  if (gap->first + gap->second == end_) {
    end_ = gap->first;
    free_.erase(gap);
    static_cast<void>(::ftruncate(file_.get(), static_cast<off_t>(end_)));
  } else {
    static_cast<void>(::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  static_cast<off_t>(offset), static_cast<off_t>(bytes)));
  }
}

Result<std::vector<std::byte>> HistoryStore::Piece::read() const {
  std::vector<std::byte> contents(bytes_);
  for (std::size_t done = 0; done < contents.size();) {
    const auto got = ::pread(store_->file_.get(), contents.data() + done, contents.size() - done,
                             static_cast<off_t>(offset_ + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("the history's file");
    if (got == 0) return fail(ErrorKind::protocol, "the history's file is too short");
    done += static_cast<std::size_t>(got);
  }
  if (hash_of(contents) != hash_)
    return fail(ErrorKind::protocol, "the history's file does not hold what was written to it");
  return contents;
}

}  // namespace understudy::checkpointer
