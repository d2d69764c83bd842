#include "replication/checksum_records.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "config/assert.hpp"

namespace understudy::replication {
namespace {

using Tag = std::array<std::byte, RecordSealer::tag_bytes>;
static_assert(sizeof(XXH128_canonical_t) == std::tuple_size_v<Tag>);

class Checksum {
 public:
  Checksum() : state_{XXH3_createState()} {
    if (!state_) throw std::bad_alloc{};
  }
  void begin(std::span<const std::byte> header) {
    XXH3_128bits_reset(state_.get());
    add(header);
  }
  void add(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  [[nodiscard]] Tag tag() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
    Tag tag;
    std::memcpy(tag.data(), &canonical, tag.size());
    return tag;
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

void copy(std::span<const std::byte> from, std::span<std::byte> to) {
  UNDERSTUDY_ASSERT(to.size() >= from.size(), "the caller gives the room");
  if (!from.empty() && from.data() != to.data()) std::memcpy(to.data(), from.data(), from.size());
}

class ChecksumSealer final : public RecordSealer {
 public:
  void seal(std::uint64_t /*number: in the header*/, std::span<const std::byte> header,
            std::span<const std::span<const std::byte>> pieces, std::span<std::byte> out) override {
    checksum_.begin(header);
    for (const auto& piece : pieces) {
      copy(piece, out);
      checksum_.add(out.first(piece.size()));
      out = out.subspan(piece.size());
    }
    copy(checksum_.tag(), out);
  }

 private:
  Checksum checksum_;
};

class ChecksumOpener final : public RecordOpener {
 public:
  Result<> begin(std::uint64_t /*number*/, std::span<const std::byte> header) override {
    checksum_.begin(header);
    return {};
  }
  void next(std::span<const std::byte> sealed, std::span<std::byte> out) override {
    copy(sealed, out);
    checksum_.add(out.first(sealed.size()));  // of what is there now, in the cache
  }
  Result<> finish(std::span<const std::byte, RecordSealer::tag_bytes> tag) override {
    if (std::ranges::equal(checksum_.tag(), tag)) return {};
    return fail(ErrorKind::protocol, "the checksum of a packet does not hold");
  }

 private:
  Checksum checksum_;
};

}  // namespace

std::unique_ptr<RecordSealer> make_checksum_sealer() {
  return std::make_unique<ChecksumSealer>();
}

std::unique_ptr<RecordOpener> make_checksum_opener() {
  return std::make_unique<ChecksumOpener>();
}

}  // namespace understudy::replication
