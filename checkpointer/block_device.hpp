// The port to something that keeps bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <vector>

namespace understudy::checkpointer {

/// Whether a range of zeros may give its space back.
enum class Hole : std::uint8_t { allowed, forbidden };

/// Thread-safe. Ranges are inside the device. An error leaves the range undefined; one of `flush`
/// comes again each time, for what it lost is lost.
class BlockDevice {
 public:
  virtual ~BlockDevice() = default;

  [[nodiscard]] virtual std::uint64_t bytes() const = 0;
  [[nodiscard]] virtual std::error_code read(std::uint64_t offset, std::span<std::byte> out) = 0;
  [[nodiscard]] virtual std::error_code write(std::uint64_t offset,
                                              std::vector<std::byte> data) = 0;
  /// The range reads as zeros afterwards.
  [[nodiscard]] virtual std::error_code zero(std::uint64_t offset, std::uint32_t bytes,
                                             Hole hole) = 0;
  /// What was written before survives a power loss.
  [[nodiscard]] virtual std::error_code flush() = 0;
};

}  // namespace understudy::checkpointer
