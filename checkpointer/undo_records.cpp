#include "checkpointer/undo_records.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace understudy::checkpointer {
namespace {

constexpr std::array<std::byte, line_bytes> zeros{};

void write_undo(std::uint64_t page, std::uint64_t mask, const std::byte* old, UndoRecords& out) {
  std::array<std::byte, record_bytes_max> room;
  const auto size = write_lines(PageIndex{page}, mask, ConstPage{old, page_bytes}, room);
  out.insert(out.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(size));
}

/// A page as it was, as far as it is known.
struct OldPage {
  std::uint64_t known{};
  std::array<std::byte, page_bytes> contents{};

  void add(const PageRecord& record) {
    std::size_t nth = 0;
    for (auto rest = record.mask; rest != 0; rest &= rest - 1, ++nth) {
      const auto line = static_cast<std::size_t>(std::countr_zero(rest));
      if ((known >> line & 1U) != 0) continue;
      const auto* from = record.lines == nullptr ? zeros.data() : record.lines + nth * line_bytes;
      std::memcpy(contents.data() + line * line_bytes, from, line_bytes);
    }
    known |= record.mask;
  }
};

}  // namespace

void append_undo(std::span<const std::byte> payload, const ImageView& image, UndoRecords& out) {
  for_each_page_record(payload, [&](const PageRecord& record) {
    write_undo(record.page, record.mask, image.page(record.page), out);
  });
}

UndoRecords merge_undo(std::span<const std::span<const std::byte>> oldest_first) {
  std::vector<PageRecord> records;
  std::size_t bytes = 0;
  for (const auto& one : oldest_first) {
    bytes += one.size();
    for_each_page_record(one, [&](const PageRecord& record) { records.push_back(record); });
  }
  std::ranges::stable_sort(records, {}, &PageRecord::page);
  UndoRecords out;
  out.reserve(bytes);
  OldPage page;
  for (std::size_t i = 0; i < records.size(); ++i) {
    page.add(records[i]);
    if (i + 1 < records.size() && records[i + 1].page == records[i].page) continue;
    write_undo(records[i].page, page.known, page.contents.data(), out);
    page.known = 0;
  }
  return out;
}

}  // namespace understudy::checkpointer
