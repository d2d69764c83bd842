// A raw disk image or a block device of this host. Writes go through the kernel's page cache;
// `flush` is fdatasync.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>

#include "checkpointer/activity_codec.hpp"
#include "checkpointer/block_device.hpp"
#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::checkpointer {

/// Thread-safe.
class ImageFile {
 public:
  /// Locks it against every other guest and program that locks what it uses. Errors say what is
  /// wrong with the image and what to do.
  [[nodiscard]] static Result<std::unique_ptr<ImageFile>> open(const std::string& path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] Result<ImageIdentity> identity() const;

  [[nodiscard]] std::error_code read(std::uint64_t offset, std::span<std::byte> out) const;
  /// The first place at or after `offset` that may hold anything but zeros, or bytes(): what is
  /// before it is a hole of the file (lseek(2), SEEK_DATA). Devices have none.
  [[nodiscard]] std::uint64_t next_data(std::uint64_t offset) const;
  [[nodiscard]] std::error_code write(std::uint64_t offset, std::span<const std::byte> data);
  [[nodiscard]] std::error_code zero(std::uint64_t offset, std::uint64_t bytes, Hole hole);
  /// Nothing to do when nothing was written since; the first one covers what was written before it
  /// was opened, by whomever. After a failure it fails for ever: the kernel
  /// forgets what it could not write, and would call the next one a success.
  [[nodiscard]] std::error_code flush();

 private:
  ImageFile(std::string path, UniqueFd file, std::uint64_t bytes)
      : path_{std::move(path)}, file_{std::move(file)}, bytes_{bytes} {}

  [[nodiscard]] std::error_code write_zeros(std::uint64_t offset, std::uint64_t bytes);

  std::string path_;
  UniqueFd file_;
  std::uint64_t bytes_;
  std::atomic<std::uint64_t> written_{1};  ///< counts writes that ended; those before us as one
  std::mutex flush_mutex_;
  std::uint64_t flushed_{};  ///< of them, those that are safe
  std::error_code broken_;
};

}  // namespace understudy::checkpointer
