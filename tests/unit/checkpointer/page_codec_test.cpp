#include <array>
#include <cstring>

#include <catch2/catch.hpp>

#include "checkpointer/page_codec.hpp"
#include "memory.hpp"
#include "tests/unit/fuzz_seed.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t some_pages = 6;
constexpr std::size_t mask_bytes = 8;

using PageBytes = std::array<std::byte, page_bytes>;
using Bytes = std::vector<std::byte>;

/// The record that turns `before` into `now`, which `before` then is.
Bytes record(std::uint64_t index, const PageBytes& now, PageBytes& before) {
  Bytes room(record_bytes_max);
  room.resize(encode_page(PageIndex{index}, now, before, room));
  return room;
}

Bytes head(std::uint64_t index, int encoding, std::size_t body = 0) {
  const auto word = index | static_cast<std::uint64_t>(encoding) << 56U;
  Bytes bytes(record_head_bytes + body);
  std::memcpy(bytes.data(), &word, sizeof word);
  return bytes;
}

Bytes delta(std::uint64_t index, std::uint64_t mask, std::size_t lines) {
  auto bytes = head(index, 3, mask_bytes + lines * line_bytes);
  std::memcpy(bytes.data() + record_head_bytes, &mask, sizeof mask);
  return bytes;
}

/// RAM of four pages, devices of two.
struct Image {
  Bytes ram = Bytes(4 * page_bytes);
  Bytes devices = Bytes(2 * page_bytes);
  [[nodiscard]] ImageView view() { return {ram, devices}; }
  [[nodiscard]] Bytes all() const {
    auto bytes = ram;
    bytes.insert(bytes.end(), devices.begin(), devices.end());
    return bytes;
  }
};

bool refused(const Bytes& payload) {
  const auto checked = check_records(payload, some_pages);
  return !checked && checked.error().kind == ErrorKind::protocol;
}

}  // namespace

TEST_CASE("a page that did not change takes no record") {
  PageBytes now{};
  PageBytes before{};
  CHECK(record(0, now, before).empty());
  now.fill(std::byte{7});
  before = now;
  CHECK(record(0, now, before).empty());
}

TEST_CASE("a page that became zeros takes eight bytes") {
  const PageBytes now{};
  PageBytes before{};
  before.fill(std::byte{1});
  CHECK(record(3, now, before) == head(3, 1));
  CHECK(before == now);
}

TEST_CASE("one changed byte takes one line, wherever it is") {
  for (std::size_t at = 0; at < page_bytes; at += 63) {
    PageBytes before{};
    before.fill(std::byte{9});
    auto now = before;
    now[at] = std::byte{1};
    const auto bytes = record(2, now, before);
    REQUIRE(bytes.size() == record_head_bytes + mask_bytes + line_bytes);
    std::uint64_t mask{};
    std::memcpy(&mask, bytes.data() + record_head_bytes, sizeof mask);
    CHECK(mask == std::uint64_t{1} << (at / line_bytes));
  }
}

TEST_CASE("no record is larger than a raw page") {
  PageBytes before{};
  before.fill(std::byte{9});
  for (std::size_t lines = 1; lines <= lines_per_page; ++lines) {
    auto was = before;
    auto now = before;
    for (std::size_t line = 0; line < lines; ++line) now[line * line_bytes] = std::byte{1};
    const auto size = record(0, now, was).size();
    CHECK(size <= record_bytes_max);
    CHECK(size == (lines < lines_per_page - 1 ? 16 + lines * line_bytes : record_bytes_max));
  }
}

TEST_CASE("records applied in their order rebuild the image") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    Random random{seed};
    Image source;
    Image shadow;
    Image replica;
    for (int epoch = 0; epoch < 20; ++epoch) {
      Bytes payload;
      std::size_t records = 0;
      for (int write = 0; write < 10; ++write) {
        const auto index = pick(random, some_pages);
        const Page page{source.view().page(index), page_bytes};
        scribble(random, page);
        Bytes room(record_bytes_max);
        const auto size =
            encode_page(PageIndex{index}, page, Page{shadow.view().page(index), page_bytes}, room);
        payload.insert(payload.end(), room.begin(),
                       room.begin() + static_cast<std::ptrdiff_t>(size));
        if (size > 0) ++records;
      }
      const auto checked = check_records(payload, some_pages);
      REQUIRE(checked);
      CHECK(*checked == records);
      std::size_t touched = 0;
      apply_records(payload, replica.view(), [&](std::uint64_t) { ++touched; });
      CHECK(touched == records);
      REQUIRE(shadow.all() == source.all());
      REQUIRE(replica.all() == source.all());
    }
  }
}

TEST_CASE("an empty payload has no records") {
  CHECK(check_records({}, some_pages) == std::size_t{0});
}

TEST_CASE("an unknown encoding is refused") {
  for (const int encoding : {0, 4, 5, 127, 255}) CHECK(refused(head(0, encoding, page_bytes)));
}

TEST_CASE("a page beyond the image is refused") {
  CHECK_FALSE(refused(head(some_pages - 1, 1)));
  CHECK(refused(head(some_pages, 1)));
  CHECK(refused(head(some_pages, 2, page_bytes)));
  CHECK(refused(delta(some_pages, 0, 0)));
  CHECK(refused(head((std::uint64_t{1} << 56U) - 1, 1)));
  CHECK_FALSE(check_records(head(0, 1), 0));
}

TEST_CASE("a record that is cut anywhere is refused") {
  for (const auto& whole : {head(1, 1), head(1, 2, page_bytes), delta(1, 0b1011, 3)}) {
    REQUIRE_FALSE(refused(whole));
    for (std::size_t size = 1; size < whole.size(); ++size) {
      const Bytes cut{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)};
      REQUIRE(refused(cut));
      auto behind = head(0, 1);
      behind.insert(behind.end(), cut.begin(), cut.end());
      REQUIRE(refused(behind));
    }
  }
}

TEST_CASE("a delta of every line, and of none, is well-formed") {
  CHECK_FALSE(refused(delta(0, ~std::uint64_t{0}, lines_per_page)));
  CHECK(refused(delta(0, ~std::uint64_t{0}, lines_per_page - 1)));
  CHECK_FALSE(refused(delta(0, 0, 0)));
}

TEST_CASE("random payloads never write outside the image") {
  Random random{fuzz_seed()};
  for (int run = 0; run < 4000; ++run) {
    // Records that are often right, then some noise.
    Bytes input;
    for (auto count = pick(random, 6); count > 0; --count) {
      const auto index = pick(random, 6);
      const auto mask = random() & random() & random();
      Bytes one;
      switch (pick(random, 4)) {
        case 0: one = head(index, 1); break;
        case 1: one = head(index, 2, page_bytes); break;
        case 2: one = delta(index, mask, static_cast<std::size_t>(std::popcount(mask))); break;
        default: one = head(random() >> 8U, static_cast<int>(pick(random, 6)), pick(random, 100));
      }
      input.insert(input.end(), one.begin(), one.end());
    }
    for (auto count = pick(random, 3); count > 0 && !input.empty(); --count) {
      input[pick(random, input.size())] = static_cast<std::byte>(random());
    }
    if (pick(random, 4) == 0) input.resize(pick(random, input.size() + 1));
    std::vector<std::uint8_t> data(input.size());
    if (!input.empty()) std::memcpy(data.data(), input.data(), input.size());
    REQUIRE(LLVMFuzzerTestOneInput(data.data(), data.size()) == 0);
  }
}
