// How the pages of a guest travel: records inside the payload of a frame. Pure.
//
//   record   u64 page index (low 56 bits) | encoding (high 8 bits), little-endian, then by encoding
//   zero     nothing
//   raw      4096 bytes
//   delta    u64 mask of the 64-byte lines that changed, then those lines, lowest first
//
// A delta applies to what the records before it, of this and all earlier epochs, have left behind;
// the image starts as zeros. So both ends must see the same records in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "config/result.hpp"
#include "config/types.hpp"

namespace understudy::checkpointer {

using Page = std::span<std::byte, page_bytes>;
using ConstPage = std::span<const std::byte, page_bytes>;

inline constexpr std::size_t line_bytes = 64;
inline constexpr std::size_t lines_per_page = page_bytes / line_bytes;
inline constexpr std::size_t record_head_bytes = 8;
/// The largest record: a whole page. A delta is chosen only where it is smaller.
inline constexpr std::size_t record_bytes_max = record_head_bytes + page_bytes;

/// Writes the record that turns `before` into `now` to the start of `room` (at least
/// record_bytes_max), and makes `before` equal `now`. Returns its size; 0 when the two are equal
/// and nothing need travel. `now` must not change during the call.
[[nodiscard]] std::size_t encode_page(PageIndex index, ConstPage now, Page before,
                                      std::span<std::byte> room);

/// Writes the record that sets these lines of a page (at least one) to what `contents` has there,
/// to the start of `room` (at least record_bytes_max). Returns its size.
[[nodiscard]] std::size_t write_lines(PageIndex index, std::uint64_t mask, ConstPage contents,
                                      std::span<std::byte> room);

/// Number of records, or what is malformed: an unknown encoding, a page beyond `pages`, a truncated
/// record. A payload that passes applies without failing.
[[nodiscard]] Result<std::size_t> check_records(std::span<const std::byte> payload,
                                                std::uint64_t pages);

/// What one record changes.
struct PageRecord {
  std::uint64_t page;
  std::uint64_t mask;      ///< of its lines
  const std::byte* lines;  ///< of the mask, lowest first; null: zeros
};

/// Changes the page at `page`.
void set_lines(const PageRecord& record, std::byte* page);

/// In order; of a payload that has passed check_records.
void for_each_page_record(std::span<const std::byte> payload,
                          const std::function<void(const PageRecord&)>& visit);

/// Where pages lie: the guest's RAM, and behind it the device state.
struct ImageView {
  std::span<std::byte> ram;
  std::span<std::byte> devices;

  [[nodiscard]] std::uint64_t pages() const { return (ram.size() + devices.size()) / page_bytes; }
  [[nodiscard]] std::byte* page(std::uint64_t index) const {
    const auto at = index * page_bytes;
    return at < ram.size() ? ram.data() + at : devices.data() + (at - ram.size());
  }
};

/// Applies a payload that has passed check_records for this image. `touching(page)` is called
/// before each record changes its page.
void apply_records(std::span<const std::byte> payload, const ImageView& image,
                   const std::function<void(std::uint64_t)>& touching);

}  // namespace understudy::checkpointer
