// A digest of each RAM block (and of the device state) that two hosts can compare. Pages of zeros
// do not count, so that memory nobody ever touched need not be looked at. Pure.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpointer/page_codec.hpp"
#include "hypervisor/ram_layout.hpp"

namespace understudy::checkpointer {

class ImageDigest {
 public:
  explicit ImageDigest(const hypervisor::RamLayout& layout);
  ~ImageDigest();
  ImageDigest(ImageDigest&&) noexcept;

  /// Pages in ascending order.
  void add(PageIndex first, std::span<const std::byte> contents);
  /// XXH3-128 of each block, then of what lies behind the RAM.
  [[nodiscard]] std::vector<std::string> finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace understudy::checkpointer
