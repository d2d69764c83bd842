#include "checkpointer/image_digest.hpp"

#include <xxhash.h>

#include <algorithm>

namespace understudy::checkpointer {
namespace {

using Hash = std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)>;

Hash fresh_hash() {
  Hash hash{XXH3_createState(), XXH3_freeState};
  XXH3_128bits_reset(hash.get());
  return hash;
}

}  // namespace

struct ImageDigest::State {
  std::vector<std::uint64_t> ends;  ///< first page behind each block
  std::vector<Hash> hashes;         ///< one more than blocks: the device state
  std::size_t block{};
};

ImageDigest::ImageDigest(const hypervisor::RamLayout& layout) : state_{std::make_unique<State>()} {
  for (std::size_t i = 0; i < layout.blocks().size(); ++i) {
    state_->ends.push_back(layout.first_page(i).value() +
                           layout.blocks()[i].max_bytes / page_bytes);
  }
  for (std::size_t i = 0; i <= layout.blocks().size(); ++i) state_->hashes.push_back(fresh_hash());
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
    auto* hash = state_->hashes[state_->block].get();
    XXH3_128bits_update(hash, &page, sizeof page);
    XXH3_128bits_update(hash, bytes.data(), bytes.size());
  }
}

std::vector<std::string> ImageDigest::finish() const {
  std::vector<std::string> digests;
  for (const auto& hash : state_->hashes) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash.get()));
    digests.emplace_back(std::begin(canonical.digest), std::end(canonical.digest));
  }
  return digests;
}

}  // namespace understudy::checkpointer
