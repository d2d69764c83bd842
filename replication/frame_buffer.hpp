// A pool of equal buffers, each large enough for one frame, allocated once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "config/mapping.hpp"
#include "config/result.hpp"

namespace understudy::replication {

class FramePool;

/// One frame: room for the header, then the payload. Goes back to its pool when destroyed; the pool
/// must outlive it.
class FrameBuffer {
 public:
  FrameBuffer() = default;
  FrameBuffer(FrameBuffer&& other) noexcept;
  FrameBuffer& operator=(FrameBuffer&& other) noexcept;
  FrameBuffer(const FrameBuffer&) = delete;
  FrameBuffer& operator=(const FrameBuffer&) = delete;
  ~FrameBuffer();

  /// Where the payload is written; limits::frame_payload_bytes long.
  [[nodiscard]] std::span<std::byte> room() const;
  /// How much of the room is used.
  void set_payload_bytes(std::size_t bytes);
  [[nodiscard]] std::span<std::byte> payload() const { return room().first(payload_bytes_); }
  [[nodiscard]] std::span<std::byte, limits::frame_header_bytes> header() const;
  /// Header and payload.
  [[nodiscard]] std::span<std::byte> frame() const;

 private:
  friend class FramePool;
  FrameBuffer(FramePool* pool, std::byte* start) : pool_{pool}, start_{start} {}
  [[nodiscard]] std::span<std::byte, limits::frame_bytes> frame_room() const;

  FramePool* pool_{};
  std::byte* start_{};
  std::size_t payload_bytes_{};
};

/// Thread-safe.
class FramePool {
 public:
  [[nodiscard]] static Result<std::unique_ptr<FramePool>> create(std::size_t frames);

  /// Waits for a free buffer; `timed_out` after `patience`, `closed` after close().
  [[nodiscard]] Result<FrameBuffer> acquire(Duration patience);
  [[nodiscard]] std::size_t in_use() const;
  /// Times that acquire had to wait.
  [[nodiscard]] std::uint64_t waits() const;
  /// Ends all waits, now and later.
  void close();

 private:
  friend class FrameBuffer;
  FramePool(Mapping memory, std::size_t frames);
  void give_back(std::byte* start);

  Mapping memory_;
  std::size_t frames_;
  mutable std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::byte*> free_;
  std::uint64_t waits_{};
  bool closed_{};
};

}  // namespace understudy::replication
