#include "config/content_hash.hpp"

#include <iterator>

#include <xxhash.h>

namespace understudy {
namespace {

static_assert(sizeof(XXH128_canonical_t) == ContentHash::bytes);

std::string canonical(XXH128_hash_t hash) {
  XXH128_canonical_t digits;
  XXH128_canonicalFromHash(&digits, hash);
  return {std::begin(digits.digest), std::end(digits.digest)};
}

}  // namespace

void ContentHash::Free::operator()(XXH3_state_s* state) const {
  XXH3_freeState(state);
}

ContentHash::ContentHash() : state_{XXH3_createState()} {
  XXH3_128bits_reset(state_.get());
}

void ContentHash::add(std::span<const std::byte> more) {
  XXH3_128bits_update(state_.get(), more.data(), more.size());
}

std::string ContentHash::digest() const {
  return canonical(XXH3_128bits_digest(state_.get()));
}

std::string content_hash(std::span<const std::byte> bytes) {
  return canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string content_hash(std::span<const std::byte> bytes, std::uint64_t seed) {
  return canonical(XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed));
}

}  // namespace understudy
