#include <catch2/catch.hpp>

#include "checkpointer/offer.hpp"
#include "config/limits.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

constexpr std::uint64_t mib = 1U << 20U;
constexpr auto everything = ~std::uint64_t{0};

struct Block {
  std::string name;
  std::uint64_t used;
  std::uint64_t max;
};

replication::Offer offer_of(const std::vector<Block>& blocks) {
  replication::Offer offer;
  for (const auto& block : blocks) {
    auto* message = offer.add_ram_block();
    message->set_name(block.name);
    message->set_used_bytes(block.used);
    message->set_max_bytes(block.max);
  }
  return offer;
}

bool refused(const std::vector<Block>& blocks) {
  const auto layout = layout_of(offer_of(blocks));
  return !layout && layout.error().kind == ErrorKind::invalid;
}

}  // namespace

TEST_CASE("an offer's blocks are laid out one behind the other") {
  const auto layout = layout_of(offer_of({{"pc.ram", mib, mib}, {"acpi", page_bytes, mib}}));
  REQUIRE(layout);
  CHECK(layout->bytes() == 2 * mib);
  CHECK(layout->first_page(1) == PageIndex{mib / page_bytes});
  CHECK(layout->blocks()[1].used_bytes == page_bytes);
}

TEST_CASE("an offer that no machine can have is refused") {
  CHECK(refused({}));
  CHECK(refused({{"pc.ram", 0, 0}}));
  CHECK(refused({{"pc.ram", mib, mib + 1}}));
  CHECK(refused({{"pc.ram", mib + page_bytes, mib}}));
  CHECK(refused({{"", mib, mib}}));
  CHECK(refused({{"pc.ram", mib, mib}, {"pc.ram", mib, mib}}));
  CHECK(refused({{"pc.ram", 0, everything}}));
  CHECK(refused({{"pc.ram", 0, everything - page_bytes + 1}}));
  CHECK(refused(std::vector<Block>(limits::ram_blocks + 1, {"x", page_bytes, page_bytes})));
}

TEST_CASE("the memory for a replica is its RAM, and room to stage an epoch") {
  CHECK(memory_for(offer_of({})) == limits::precopy_bytes_per_epoch);
  CHECK(memory_for(offer_of({{"a", 0, mib}, {"b", 1, 2 * mib}})) ==
        3 * mib + limits::precopy_bytes_per_epoch);
}

TEST_CASE("a hostile sum does not wrap round to something small") {
  CHECK(memory_for(offer_of({{"a", 0, everything}})) == everything);
  CHECK(memory_for(offer_of({{"a", 0, everything / 2}, {"b", 0, everything / 2 + 2}})) ==
        everything);
  CHECK(memory_for(offer_of({{"a", 0, everything}, {"b", 0, mib}})) == everything);
  CHECK(memory_for(offer_of({{"a", 0, mib}, {"b", 0, everything}, {"c", 0, everything}})) ==
        everything);
}

TEST_CASE("a host that has not the memory says how much it has") {
  CHECK(check_memory(0, "nothing"));
  CHECK(check_memory(1, "a byte"));
  const auto checked = check_memory(everything, "a replica of the guest");
  REQUIRE_FALSE(checked);
  CHECK(checked.error().kind == ErrorKind::limit);
  CHECK_THAT(checked.error().message, Catch::StartsWith("a replica of the guest needs"));
}
