#include "hypervisor/incoming_stream.hpp"

#include <array>
#include <string_view>

#include "config/assert.hpp"
#include "config/types.hpp"
#include "config/zeros.hpp"

namespace understudy::hypervisor {
namespace {

// Constants of QEMU's migration/savevm.h and migration/ram.c.
constexpr std::array<unsigned char, 8> stream_head{'Q', 'E', 'V', 'M', 0, 0, 0, 3};
constexpr std::uint8_t section_start = 0x01;
constexpr std::uint8_t section_end = 0x03;
constexpr std::uint8_t configuration = 0x07;
constexpr std::uint8_t section_footer = 0x7e;
constexpr std::uint64_t flag_zero = 0x02;
constexpr std::uint64_t flag_mem_size = 0x04;
constexpr std::uint64_t flag_page = 0x08;
constexpr std::uint64_t flag_end = 0x10;
constexpr std::uint64_t flag_same_block = 0x20;
constexpr std::uint32_t ram_version = 4;
constexpr std::uint32_t section_id = 1U << 20U;  // above any that QEMU numbers itself

class Writer {
 public:
  void byte(std::uint8_t value) { bytes_.push_back(std::byte{value}); }
  void be32(std::uint32_t value) { big_endian(value, 4); }
  void be64(std::uint64_t value) { big_endian(value, 8); }
  void raw(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void text(std::string_view text) { raw(std::as_bytes(std::span{text})); }
  /// One byte of length, then the characters.
  void name(std::string_view name) {
    byte(static_cast<std::uint8_t>(name.size()));
    text(name);
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void big_endian(std::uint64_t value, unsigned size) {
    for (unsigned i = size; i-- > 0;) byte(static_cast<std::uint8_t>(value >> (8 * i)));
  }
  std::vector<std::byte> bytes_;
};

void end_section(Writer& out) {
  out.be64(flag_end);
  out.byte(section_footer);
  out.be32(section_id);
}

void write_block_list(Writer& out, const std::vector<BlockContents>& blocks) {
  std::uint64_t total = 0;
  for (const auto& block : blocks) total += block.bytes.size();
  out.byte(section_start);
  out.be32(section_id);
  out.name("ram");
  out.be32(0);  // instance
  out.be32(ram_version);
  out.be64(total | flag_mem_size);
  for (const auto& block : blocks) {
    out.name(block.name);
    out.be64(block.bytes.size());
  }
  end_section(out);
}

void write_pages(Writer& out, const BlockContents& block) {
  bool first = true;
  for (std::size_t offset = 0; offset < block.bytes.size(); offset += page_bytes) {
    const auto page = block.bytes.subspan(offset, page_bytes);
    const bool zero = all_zeros(page);
    out.be64(offset | (zero ? flag_zero : flag_page) | (first ? 0 : flag_same_block));
    if (first) out.name(block.name);
    if (zero) {
      out.byte(0);
    } else {
      out.raw(page);
    }
    first = false;
  }
}

}  // namespace

Result<std::vector<std::byte>> incoming_head(std::span<const std::byte> devices,
                                             const std::string& machine,
                                             const std::vector<BlockContents>& blocks) {
  const auto expected = std::as_bytes(std::span{stream_head});
  if (devices.size() <= expected.size() ||
      !std::equal(expected.begin(), expected.end(), devices.begin())) {
    return fail(ErrorKind::protocol, "the saved device state is not a QEMU stream of version 3");
  }
  Writer out;
  out.raw(expected);
  out.byte(configuration);
  out.be32(static_cast<std::uint32_t>(machine.size()));
  out.text(machine);
  write_block_list(out, blocks);
  out.byte(section_end);
  out.be32(section_id);
  for (const auto& block : blocks) {
    UNDERSTUDY_ASSERT(block.bytes.size() % page_bytes == 0, "RAM blocks are whole pages");
    write_pages(out, block);
  }
  end_section(out);
  return out.take();
}

std::span<const std::byte> incoming_tail(std::span<const std::byte> devices) {
  return devices.subspan(stream_head.size());
}

}  // namespace understudy::hypervisor
