#include <catch2/catch.hpp>

#include "checkpointer/image_digest.hpp"
#include "memory.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Digests = std::vector<std::string>;

/// Of an image of small_layout() and two device pages behind it.
Digests digest(std::span<const std::byte> image) {
  ImageDigest one{small_layout()};
  one.add(PageIndex{0}, image);
  return one.finish();
}

std::vector<std::byte> random_image() {
  return random_bytes(1, (small_layout().pages() + 2) * page_bytes);
}

std::size_t differing(const Digests& a, const Digests& b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1U : 0U;
  return count;
}

}  // namespace

TEST_CASE("there is a digest for each block and one for the devices, 128 bits each") {
  const auto digests = digest(random_image());
  REQUIRE(digests.size() == small_layout().blocks().size() + 1);
  for (const auto& one : digests) CHECK(one.size() == 16);
}

TEST_CASE("pages of zeros do not count, whether they are told or not") {
  auto image = random_image();
  const std::span all{image};
  std::fill_n(all.subspan(3 * page_bytes).begin(), 2 * page_bytes, std::byte{});
  ImageDigest without{small_layout()};
  without.add(PageIndex{0}, all.first(3 * page_bytes));
  without.add(PageIndex{5}, all.subspan(5 * page_bytes));
  CHECK(without.finish() == digest(image));
  ImageDigest nothing{small_layout()};
  CHECK(nothing.finish() == digest(std::vector<std::byte>(image.size())));
}

TEST_CASE("pieces make no difference") {
  const auto image = random_image();
  ImageDigest pieces{small_layout()};
  for (std::size_t page = 0; page < image.size() / page_bytes; ++page) {
    pieces.add(PageIndex{page}, std::span{image}.subspan(page * page_bytes, page_bytes));
  }
  CHECK(pieces.finish() == digest(image));
}

TEST_CASE("a changed byte changes the digest of its block alone") {
  const auto image = random_image();
  const auto layout = small_layout();
  for (std::size_t page = 0; page < image.size() / page_bytes; ++page) {
    auto changed = image;
    changed[page * page_bytes + page] ^= std::byte{1};
    std::size_t block = 0;
    while (block < layout.blocks().size() &&
           page >= layout.first_page(block).value() + layout.blocks()[block].max_bytes / page_bytes)
      ++block;
    const auto before = digest(image);
    const auto after = digest(changed);
    CHECK(differing(before, after) == 1);
    CHECK(before[block] != after[block]);
  }
}

TEST_CASE("a page at another place is another image") {
  std::vector<std::byte> a(small_layout().bytes());
  auto b = a;
  a[0] = std::byte{1};
  b[page_bytes] = std::byte{1};
  CHECK(differing(digest(a), digest(b)) == 1);
}
