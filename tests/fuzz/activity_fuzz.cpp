// Whatever lies on a disk as an activity log: damaged, or marks that lie inside their images, and
// that a file made of them says again. The first byte chooses: as it is, or with the checksums put
// right, which noise never has.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <xxhash.h>

#include "checkpointer/activity_codec.hpp"
#include "config/assert.hpp"
#include "config/limits.hpp"
#include "replication/little_endian.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using File = std::vector<std::byte>;

constexpr std::uint64_t magic = 0x31304c4159445355;  // "USDYAL01"
constexpr std::size_t head_bytes = 256;
constexpr std::size_t record_bytes = 32;
constexpr std::size_t sum_bytes = sizeof(std::uint64_t);

std::uint64_t put_sum(std::span<std::byte> part, std::uint64_t seed) {
  const auto summed = part.first(part.size() - sum_bytes);
  const auto sum = XXH3_64bits_withSeed(summed.data(), summed.size(), seed);
  replication::put(part, summed.size(), sum);
  return sum;
}

void put_checksums_right(File& file) {
  if (file.size() < head_bytes) return;
  replication::put(std::span{file}, 0, magic);
  const auto seed = put_sum(std::span{file}.first(head_bytes), 0);
  for (auto at = head_bytes; at + record_bytes <= file.size(); at += record_bytes)
    put_sum(std::span{file}.subspan(at, record_bytes), seed + at);
}

bool lies_inside(const Extent& extent, const ActivityRecord& record) {
  return extent.disk < record.images.size() &&
         extent.index <= (record.images[extent.disk].bytes - 1) / limits::activity_extent_bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span{data, size});
  // On the heap at its exact size: reading past the end is seen by the sanitizer.
  File file(input.begin() + 1, input.end());
  if ((data[0] & 1U) != 0) put_checksums_right(file);
  const auto record = decode_activity(file);
  if (!record) return 0;
  const auto& marked = record->marked;
  UNDERSTUDY_ASSERT(!record->images.empty() && record->images.size() <= limits::disks_per_guest,
                    "as many images as a guest can have");
  UNDERSTUDY_ASSERT(
      std::ranges::all_of(marked, [&](const Extent& one) { return lies_inside(one, *record); }),
      "marks lie inside their images");
  UNDERSTUDY_ASSERT(std::ranges::adjacent_find(marked, std::greater_equal{}) == marked.end(),
                    "marks ascend");
  const auto again = decode_activity(ActivityImage{*record}.bytes);
  UNDERSTUDY_ASSERT(again && again->pair == record->pair && again->marked == marked,
                    "what was read can be written and read again");
  return 0;
}
