#include "checkpointer/page_codec.hpp"

#include <bit>
#include <cstring>

#include "config/assert.hpp"
#include "config/zeros.hpp"

namespace understudy::checkpointer {
namespace {

static_assert(std::endian::native == std::endian::little, "records are little-endian");
static_assert(lines_per_page == 64, "the lines of a page fit a 64-bit mask");

enum class Encoding : std::uint8_t { zero = 1, raw = 2, delta = 3 };

constexpr unsigned encoding_shift = 56;
constexpr std::uint64_t index_mask = (std::uint64_t{1} << encoding_shift) - 1;
constexpr std::size_t mask_bytes = 8;
constexpr auto all_lines = ~std::uint64_t{0};
constexpr int lines_worth_a_delta = lines_per_page - 1;

std::uint64_t load(const std::byte* from) {
  std::uint64_t value{};
  std::memcpy(&value, from, sizeof value);
  return value;
}

void store(std::byte* to, std::uint64_t value) {
  std::memcpy(to, &value, sizeof value);
}

std::uint64_t changed_lines(ConstPage now, Page before) {
  std::uint64_t mask = 0;
  for (std::size_t line = 0; line < lines_per_page; ++line) {
    const auto at = line * line_bytes;
    if (std::memcmp(now.data() + at, before.data() + at, line_bytes) != 0)
      mask |= std::uint64_t{1} << line;
  }
  return mask;
}

/// Calls `visit(line)` for every line in the mask.
template <class Visit>
void each_line(std::uint64_t mask, Visit visit) {
  for (; mask != 0; mask &= mask - 1) visit(static_cast<std::size_t>(std::countr_zero(mask)));
}

std::size_t write_delta(std::uint64_t mask, ConstPage now, std::byte* to) {
  store(to, mask);
  auto* out = to + mask_bytes;
  each_line(mask, [&](std::size_t line) {
    std::memcpy(out, now.data() + line * line_bytes, line_bytes);
    out += line_bytes;
  });
  return static_cast<std::size_t>(out - to);
}

struct Head {
  std::uint64_t page;
  Encoding encoding;
};

Head read_head(const std::byte* at) {
  const auto word = load(at);
  return {word & index_mask, static_cast<Encoding>(word >> encoding_shift)};
}

/// Size of the record's body at the start of `rest`; an error when it does not fit.
Result<std::size_t> body_size(Encoding encoding, std::span<const std::byte> rest) {
  std::size_t size = 0;
  if (encoding == Encoding::raw) {
    size = page_bytes;
  } else if (encoding == Encoding::delta) {
    if (rest.size() < mask_bytes) return fail(ErrorKind::protocol, "a page record is truncated");
    size = mask_bytes + static_cast<std::size_t>(std::popcount(load(rest.data()))) * line_bytes;
  } else if (encoding != Encoding::zero) {
    return fail(ErrorKind::protocol, "a page record has the unknown encoding {}",
                static_cast<int>(encoding));
  }
  if (size > rest.size()) return fail(ErrorKind::protocol, "a page record is truncated");
  return size;
}

/// Applies one record's body and returns its size.
std::size_t apply(Encoding encoding, const std::byte* body, std::byte* page) {
  switch (encoding) {
    case Encoding::zero: std::memset(page, 0, page_bytes); return 0;
    case Encoding::raw: std::memcpy(page, body, page_bytes); return page_bytes;
    case Encoding::delta: break;
  }
  const auto* in = body + mask_bytes;
  each_line(load(body), [&](std::size_t line) {
    std::memcpy(page + line * line_bytes, in, line_bytes);
    in += line_bytes;
  });
  return static_cast<std::size_t>(in - body);
}

}  // namespace

std::size_t encode_page(PageIndex index, ConstPage now, Page before, std::span<std::byte> room) {
  auto mask = changed_lines(now, before);
  if (mask == 0) return 0;
  // A whole page is the shorter record, or no longer.
  if (std::popcount(mask) >= lines_worth_a_delta || all_zeros(now)) mask = all_lines;
  const auto size = write_lines(index, mask, now, room);
  std::memcpy(before.data(), now.data(), page_bytes);
  return size;
}

std::size_t write_lines(PageIndex index, std::uint64_t mask, ConstPage contents,
                        std::span<std::byte> room) {
  UNDERSTUDY_ASSERT(room.size() >= record_bytes_max && index.value() <= index_mask,
                    "room for any record");
  auto* body = room.data() + record_head_bytes;
  auto encoding = Encoding::raw;
  std::size_t size = page_bytes;
  if (mask == all_lines && all_zeros(contents)) {
    encoding = Encoding::zero;
    size = 0;
  } else if (mask == all_lines) {
    std::memcpy(body, contents.data(), page_bytes);
  } else {
    encoding = Encoding::delta;
    size = write_delta(mask, contents, body);
  }
  store(room.data(),
        index.value() | std::uint64_t{static_cast<std::uint8_t>(encoding)} << encoding_shift);
  return record_head_bytes + size;
}

Result<std::size_t> check_records(std::span<const std::byte> payload, std::uint64_t pages) {
  std::size_t records = 0;
  for (; !payload.empty(); ++records) {
    if (payload.size() < record_head_bytes)
      return fail(ErrorKind::protocol, "a page record is truncated");
    const auto head = read_head(payload.data());
    if (head.page >= pages) {
      return fail(ErrorKind::protocol, "a page record names page {} of {}", head.page, pages);
    }
    payload = payload.subspan(record_head_bytes);
    UNDERSTUDY_TRY(const auto size, body_size(head.encoding, payload));
    payload = payload.subspan(size);
  }
  return records;
}

void set_lines(const PageRecord& record, std::byte* page) {
  if (record.lines == nullptr) {
    std::memset(page, 0, page_bytes);
    return;
  }
  const auto* in = record.lines;
  each_line(record.mask, [&](std::size_t line) {
    std::memcpy(page + line * line_bytes, in, line_bytes);
    in += line_bytes;
  });
}

void for_each_page_record(std::span<const std::byte> payload,
                          const std::function<void(const PageRecord&)>& visit) {
  const auto* at = payload.data();
  const auto* const end = at + payload.size();
  while (at != end) {
    const auto head = read_head(at);
    at += record_head_bytes;
    PageRecord record{head.page, all_lines, nullptr};
    if (head.encoding == Encoding::raw) record.lines = at;
    if (head.encoding == Encoding::delta) record = {head.page, load(at), at + mask_bytes};
    visit(record);
    if (head.encoding == Encoding::raw) at += page_bytes;
    if (head.encoding == Encoding::delta)
      at += mask_bytes + static_cast<std::size_t>(std::popcount(record.mask)) * line_bytes;
  }
}

void apply_records(std::span<const std::byte> payload, const ImageView& image,
                   const std::function<void(std::uint64_t)>& touching) {
  const auto* at = payload.data();
  const auto* const end = at + payload.size();
  while (at != end) {
    const auto head = read_head(at);
    at += record_head_bytes;
    touching(head.page);
    at += apply(head.encoding, at, image.page(head.page));
  }
}

}  // namespace understudy::checkpointer
