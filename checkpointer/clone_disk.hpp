// A clone's disk: a snapshot below, and on top what the clone has written itself.
#pragma once

#include <memory>
#include <mutex>

#include "checkpointer/block_device.hpp"
#include "checkpointer/chunk_store.hpp"
#include "checkpointer/disk_snapshot.hpp"

namespace understudy::checkpointer {

/// What is written is for the clone's life only: nothing is ever flushed.
class CloneDisk final : public BlockDevice {
 public:
  CloneDisk(std::shared_ptr<DiskSnapshot> below, std::size_t disk, ChunkStore own)
      : below_{std::move(below)}, disk_{disk}, own_{std::move(own)} {}

  [[nodiscard]] std::uint64_t bytes() const override { return below_->bytes(disk_); }
  [[nodiscard]] std::error_code read(std::uint64_t offset, std::span<std::byte> out) override;
  /// As DiskSnapshot's, with what the clone has written.
  [[nodiscard]] std::uint64_t next_data(std::uint64_t offset);
  [[nodiscard]] std::error_code write(std::uint64_t offset, std::vector<std::byte> data) override;
  [[nodiscard]] std::error_code zero(std::uint64_t offset, std::uint32_t bytes, Hole hole) override;
  [[nodiscard]] std::error_code flush() override { return {}; }

 private:
  [[nodiscard]] std::error_code write_in(std::uint64_t chunk, std::uint64_t at,
                                         std::span<const std::byte> data);

  const std::shared_ptr<DiskSnapshot> below_;
  const std::size_t disk_;
  std::mutex mutex_;
  ChunkStore own_;
};

}  // namespace understudy::checkpointer
