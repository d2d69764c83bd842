#include "checkpointer/image_digest.hpp"

#include <algorithm>

#include "config/content_hash.hpp"

namespace understudy::checkpointer {

struct ImageDigest::State {
  std::vector<std::uint64_t> ends;  ///< first page behind each block
  std::vector<ContentHash> hashes;  ///< one more than blocks: the device state
  std::size_t block{};
};

ImageDigest::ImageDigest(const hypervisor::RamLayout& layout) : state_{std::make_unique<State>()} {
  for (std::size_t i = 0; i < layout.blocks().size(); ++i) {
    state_->ends.push_back(layout.first_page(i).value() +
                           layout.blocks()[i].max_bytes / page_bytes);
  }
  state_->hashes = std::vector<ContentHash>(layout.blocks().size() + 1);
}

ImageDigest::~ImageDigest() = default;
ImageDigest::ImageDigest(ImageDigest&&) noexcept = default;

void ImageDigest::add(PageIndex first, std::span<const std::byte> contents) {
  auto page = first.value();
  for (; !contents.empty(); contents = contents.subspan(page_bytes), ++page) {
    const auto bytes = contents.first<page_bytes>();
    if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; }))
      continue;
    while (state_->block < state_->ends.size() && page >= state_->ends[state_->block])
      ++state_->block;
    auto& hash = state_->hashes[state_->block];
    hash.add(std::as_bytes(std::span{&page, 1}));
    hash.add(bytes);
  }
}

std::vector<std::string> ImageDigest::finish() const {
  std::vector<std::string> digests;
  for (const auto& hash : state_->hashes) digests.push_back(hash.digest());
  return digests;
}

}  // namespace understudy::checkpointer
