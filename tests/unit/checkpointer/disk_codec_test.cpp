#include "checkpointer/disk_codec.hpp"

#include <array>

#include <catch2/catch.hpp>

#include "disk_world.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

const std::array<std::uint64_t, 2> sizes{10'000, 4096};

std::size_t count(std::span<const std::byte> payload) {
  std::size_t result = 0;
  REQUIRE(for_each_disk_record(payload, [&](const DiskRecord&) -> Result<> {
    ++result;
    return {};
  }));
  return result;
}

}  // namespace

TEST_CASE("a long write is cut to what fits, and comes together again") {
  const auto data = random_bytes(1, 1000);
  DiskRecord record{1, DiskContents::data, 96, 1000, data};
  std::vector<std::byte> payload;
  while (record.bytes > 0) {
    std::array<std::byte, 120> room{};
    const auto used = encode_disk_record(record, room);
    payload.insert(payload.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(used));
  }
  REQUIRE(check_disk_records(payload, sizes));
  std::vector<std::byte> image(4096);
  REQUIRE(for_each_disk_record(payload, [&](const DiskRecord& one) -> Result<> {
    CHECK(one.disk == 1);
    std::ranges::copy(one.data, image.begin() + static_cast<std::ptrdiff_t>(one.offset));
    return {};
  }));
  CHECK(std::equal(data.begin(), data.end(), image.begin() + 96));
  CHECK(count(payload) == 10);
}

TEST_CASE("zeros take a head, however many they are") {
  DiskRecord record{0, DiskContents::zeros, 0, 10'000, {}};
  std::array<std::byte, 32> room{};
  CHECK(encode_disk_record(record, room) == disk_record_head_bytes);
  CHECK(record.bytes == 0);
  CHECK(check_disk_records(std::span{room}.first(disk_record_head_bytes), sizes));
}

TEST_CASE("records that cannot be are refused") {
  const auto data = random_bytes(1, 512);
  CHECK_FALSE(check_disk_records(data_record(2, 0, data), sizes));     // no such disk
  CHECK_FALSE(check_disk_records(data_record(1, 4000, data), sizes));  // beyond its end
  CHECK_FALSE(check_disk_records(data_record(1, ~0ULL - 10, data), sizes));
  CHECK_FALSE(check_disk_records(data_record(1, 0, {}), sizes));
  const auto good = data_record(1, 0, data);
  CHECK(check_disk_records(good, sizes));
  for (std::size_t cut = 1; cut < good.size(); ++cut)
    CHECK_FALSE(check_disk_records(std::span{good}.first(cut), sizes));
}

TEST_CASE("noise never passes as more than it is") {
  Random random{3};
  for (int round = 0; round < 2000; ++round) {
    auto noise = data_record(static_cast<std::uint16_t>(pick(random, 2)), pick(random, 4000),
                             random_bytes(random(), pick(random, 90) + 1));
    noise[pick(random, noise.size())] = static_cast<std::byte>(random());
    if (!check_disk_records(noise, sizes)) continue;
    REQUIRE(for_each_disk_record(noise, [&](const DiskRecord& one) -> Result<> {
      CHECK(one.offset + one.bytes <= sizes.at(one.disk));
      return {};
    }));
  }
}
