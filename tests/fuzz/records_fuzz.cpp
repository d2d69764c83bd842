// Whatever a primary sends as input records: refused, or read inside. As page records: refused, or
// applied inside the image and nowhere else; and what was not named by a record stays as it was.
// Undo records lead back, whatever it was.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "checkpointer/input_codec.hpp"
#include "checkpointer/page_codec.hpp"
#include "checkpointer/undo_records.hpp"
#include "config/assert.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t ram_pages = 3;
constexpr std::size_t device_pages_here = 2;
constexpr std::size_t all_pages_here = ram_pages + device_pages_here;
constexpr std::byte untouched{0xa5};

/// An area with a page of fence before and behind it.
class Fenced {
 public:
  explicit Fenced(std::size_t pages) : memory_((pages + 2) * page_bytes, untouched) {}
  [[nodiscard]] std::span<std::byte> inside() {
    return std::span{memory_}.subspan(page_bytes, memory_.size() - 2 * page_bytes);
  }
  [[nodiscard]] bool fences_hold() const {
    const auto whole = [](auto first, auto last) {
      return std::all_of(first, last, [](std::byte b) { return b == untouched; });
    };
    constexpr auto fence = static_cast<std::ptrdiff_t>(page_bytes);
    return whole(memory_.begin(), memory_.begin() + fence) &&
           whole(memory_.end() - fence, memory_.end());
  }

 private:
  std::vector<std::byte> memory_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // On the heap at its exact size: reading past the end is seen by the sanitizer.
  const auto* const bytes = std::as_bytes(std::span{data, size}).data();
  const std::vector<std::byte> payload(bytes, bytes + size);
  if (check_input(payload)) {
    std::size_t seen = 0;
    for_each_input(payload, [&](std::size_t, auto frame) { seen += frame.size(); });
    UNDERSTUDY_ASSERT(seen <= size, "input records lie in their payload");
  }
  const auto records = check_records(payload, all_pages_here);
  if (!records) return 0;

  Fenced ram{ram_pages};
  Fenced devices{device_pages_here};
  const ImageView image{ram.inside(), devices.inside()};
  std::vector<bool> touched(all_pages_here);
  std::size_t applied = 0;
  UndoRecords all_undo;
  append_undo(payload, image, all_undo);
  apply_records(payload, image, [&](std::uint64_t page) {
    UNDERSTUDY_ASSERT(page < all_pages_here, "only pages of the image are touched");
    touched[page] = true;
    ++applied;
  });
  UNDERSTUDY_ASSERT(applied == *records, "every record that was counted is applied");
  UNDERSTUDY_ASSERT(ram.fences_hold() && devices.fences_hold(), "nothing outside is written");
  for (std::size_t page = 0; page < all_pages_here; ++page) {
    const std::span contents{image.page(page), page_bytes};
    UNDERSTUDY_ASSERT(
        touched[page] || std::ranges::all_of(contents, [](std::byte b) { return b == untouched; }),
        "what no record names stays as it was");
  }
  const std::span<const std::byte> saved{all_undo};
  const auto undo = merge_undo({&saved, 1});
  UNDERSTUDY_ASSERT(check_records(undo, all_pages_here), "undo records are page records");
  apply_records(undo, image, [](std::uint64_t) {});
  UNDERSTUDY_ASSERT(ram.fences_hold() && devices.fences_hold(), "undo writes nothing outside");
  for (std::size_t page = 0; page < all_pages_here; ++page) {
    const std::span contents{image.page(page), page_bytes};
    UNDERSTUDY_ASSERT(std::ranges::all_of(contents, [](std::byte b) { return b == untouched; }),
                      "undo records lead back");
  }
  return 0;
}
