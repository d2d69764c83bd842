// Ownership of a memory mapping.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <sys/mman.h>

#include "config/result.hpp"

namespace understudy {

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept : bytes_{std::exchange(other.bytes_, {})} {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  }

  /// Zeroed private memory that costs nothing until it is touched.
  [[nodiscard]] static Result<Mapping> anonymous(std::size_t size) {
    UNDERSTUDY_TRY(auto mapping,
                   map(nullptr, size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1));
    // Children of ours become another program at once: a fork need not prepare gigabytes to be
    // shared with them, nor every page fault once more afterwards.
    ::madvise(mapping.bytes_.data(), size, MADV_DONTFORK);
    return mapping;
  }

  /// The whole of a shared file, writable.
  [[nodiscard]] static Result<Mapping> shared(int fd, std::size_t size) {
    return map(nullptr, size, MAP_SHARED, fd);
  }

  /// Puts the first `size` bytes of a shared file over the start of this mapping.
  [[nodiscard]] Result<> overlay_start(int fd, std::size_t size) {
    // SAFETY: the range lies inside this object's own mapping, which nobody else may unmap.
    void* at = size > bytes_.size() ? MAP_FAILED
                                    : ::mmap(bytes_.data(), size, PROT_READ | PROT_WRITE,
                                             MAP_SHARED | MAP_FIXED, fd, 0);
    if (at == MAP_FAILED) return fail_errno("mapping guest memory");
    return {};
  }

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit Mapping(std::span<std::byte> bytes) : bytes_{bytes} {}

  static Result<Mapping> map(void* hint, std::size_t size, int flags, int fd) {
    // SAFETY: a fresh mapping, owned by the returned object alone.
    void* at = ::mmap(hint, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (at == MAP_FAILED) return fail_errno(fmt::format("mapping {} MiB of memory", size >> 20U));
    return Mapping{{static_cast<std::byte*>(at), size}};
  }

  std::span<std::byte> bytes_;
};

}  // namespace understudy
