#include "replication/frame_buffer.hpp"

#include <utility>

#include "config/assert.hpp"

namespace understudy::replication {
namespace {

/// Whole pages, so that no two frames share one.
constexpr std::size_t stride = (limits::frame_bytes + page_bytes - 1) / page_bytes * page_bytes;

}  // namespace

FrameBuffer::FrameBuffer(FrameBuffer&& other) noexcept
    : pool_{std::exchange(other.pool_, nullptr)},
      start_{std::exchange(other.start_, nullptr)},
      payload_bytes_{std::exchange(other.payload_bytes_, 0)} {}

FrameBuffer& FrameBuffer::operator=(FrameBuffer&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(start_, other.start_);
  std::swap(payload_bytes_, other.payload_bytes_);
  return *this;
}

FrameBuffer::~FrameBuffer() {
  if (pool_ != nullptr) pool_->give_back(start_);
}

std::span<std::byte> FrameBuffer::room() const {
  return frame_room().subspan(limits::frame_header_bytes);
}

void FrameBuffer::set_payload_bytes(std::size_t bytes) {
  UNDERSTUDY_ASSERT(bytes <= limits::frame_payload_bytes, "a payload fits its frame");
  payload_bytes_ = bytes;
}

std::span<std::byte, limits::frame_header_bytes> FrameBuffer::header() const {
  return frame_room().first<limits::frame_header_bytes>();
}

std::span<std::byte> FrameBuffer::frame() const {
  return frame_room().first(limits::frame_header_bytes + payload_bytes_);
}

std::span<std::byte, limits::frame_bytes> FrameBuffer::frame_room() const {
  UNDERSTUDY_ASSERT(start_ != nullptr, "a buffer that was given away is not used");
  return std::span<std::byte, limits::frame_bytes>{start_, limits::frame_bytes};
}

Result<std::unique_ptr<FramePool>> FramePool::create(std::size_t frames) {
  UNDERSTUDY_TRY(auto memory, Mapping::anonymous(frames * stride));
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::unique_ptr<FramePool>{new FramePool{std::move(memory), frames}};
}

FramePool::FramePool(Mapping memory, std::size_t frames)
    : memory_{std::move(memory)}, frames_{frames} {
  free_.reserve(frames);
  for (std::size_t i = frames; i > 0; --i) {
    free_.push_back(memory_.bytes().subspan((i - 1) * stride).data());
  }
}

Result<FrameBuffer> FramePool::acquire(Duration patience) {
  std::unique_lock lock{mutex_};
  if (free_.empty() && !closed_) {
    ++waits_;
    freed_.wait_for(lock, patience, [this] { return !free_.empty() || closed_; });
  }
  if (closed_) return fail(ErrorKind::closed, "the replication session is over");
  if (free_.empty()) {
    return fail(ErrorKind::timed_out, "all {} frames are waiting for the backup", frames_);
  }
  // The last given back is the next taken: memory that is never needed is never touched.
  auto* const start = free_.back();
  free_.pop_back();
  return FrameBuffer{this, start};
}

std::size_t FramePool::in_use() const {
  const std::lock_guard lock{mutex_};
  return frames_ - free_.size();
}

std::uint64_t FramePool::waits() const {
  const std::lock_guard lock{mutex_};
  return waits_;
}

void FramePool::close() {
  const std::lock_guard lock{mutex_};
  closed_ = true;
  freed_.notify_all();
}

void FramePool::give_back(std::byte* start) {
  const std::lock_guard lock{mutex_};
  free_.push_back(start);
  freed_.notify_one();
}

}  // namespace understudy::replication
