// Blocks of a checkpoint file whose sums are right, whatever they hold: what a hostile writer can
// make. By checkpoint_codec.hpp's words, not by its code.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "checkpointer/checkpoint_codec.hpp"
#include "config/assert.hpp"
#include "config/content_hash.hpp"
#include "replication/little_endian.hpp"

namespace understudy::checkpointer {

/// `contents` bytes are claimed; stored is what is there.
inline std::vector<std::byte> forge_block(std::uint64_t number, std::uint32_t kind,
                                          std::span<const std::byte> stored,
                                          std::uint32_t contents) {
  using replication::put;
  std::vector<std::byte> block(32);
  put(block, 0, std::uint32_t{0x4b435355});
  put(block, 4, std::uint32_t{1});
  put(block, 8, kind);
  put(block, 12, static_cast<std::uint32_t>(stored.size()));
  put(block, 16, contents);
  put(block, 24, number);
  ContentHash hash;
  hash.add(block);
  hash.add(stored);
  const auto sum = hash.digest();
  for (const char c : sum) block.push_back(static_cast<std::byte>(c));
  block.insert(block.end(), stored.begin(), stored.end());
  return block;
}

inline std::vector<std::byte> forge_block(std::uint64_t number, CheckpointBlock kind,
                                          std::span<const std::byte> stored) {
  return forge_block(number, static_cast<std::uint32_t>(kind), stored,
                     static_cast<std::uint32_t>(stored.size()));
}

/// Of a guest with three RAM blocks of 8, 4 and 2 pages and one disk whose last chunk is shorter.
inline Checkpoint forged_about(std::uint64_t device_bytes) {
  Checkpoint about;
  auto& machine = *about.mutable_machine();
  machine.mutable_guest()->set_name("pg");
  machine.mutable_guest()->add_disk();
  machine.add_disk_bytes(300'032);
  for (const auto& [name, pages] :
       {std::pair{"pc.ram", 8U}, std::pair{"acpi.tables", 4U}, std::pair{"pc.bios", 2U}}) {
    auto& block = *machine.add_ram_block();
    block.set_name(name);
    block.set_max_bytes(pages * page_bytes);
    block.set_used_bytes(pages * page_bytes);
    about.add_used_bytes(page_bytes);
  }
  about.set_device_bytes(device_bytes);
  return about;
}

/// Gives the bytes to a decoder as it wants them. Its error, or one of kind `closed` when there are
/// too few; what is behind its end is not looked at.
inline Result<> decode_all(std::span<const std::byte> bytes, CheckpointDecoder& decoder) {
  while (decoder.wanted() > 0) {
    if (bytes.size() < decoder.wanted()) return fail(ErrorKind::closed, "it is cut");
    // On the heap at its exact size: reading past the end is seen by a sanitizer.
    const std::vector<std::byte> piece(bytes.begin(),
                                       bytes.begin() + std::ptrdiff_t(decoder.wanted()));
    bytes = bytes.subspan(piece.size());
    UNDERSTUDY_CHECK(decoder.take(piece));
  }
  return {};
}

/// Asserts what CheckpointDecoder promises its sink.
class WatchfulSink final : public CheckpointSink {
 public:
  Result<> begin(const Checkpoint& about) override {
    UNDERSTUDY_ASSERT(check_about(about) && !begun_, "the sink is told once, and of a machine");
    begun_ = true;
    for (const auto& block : about.machine().ram_block()) pages_ += block.max_bytes() / page_bytes;
    disk_bytes_.assign(about.machine().disk_bytes().begin(), about.machine().disk_bytes().end());
    next_offset_.resize(disk_bytes_.size());
    device_bytes_left_ = about.device_bytes();
    return {};
  }
  Result<> devices(std::span<const std::byte> piece) override {
    UNDERSTUDY_ASSERT(piece.size() <= device_bytes_left_, "device state keeps its size");
    device_bytes_left_ -= piece.size();
    return {};
  }
  Result<> page(PageIndex page, ConstPage contents) override {
    UNDERSTUDY_ASSERT(device_bytes_left_ == 0 && page.value() >= next_page_, "pages rise");
    UNDERSTUDY_ASSERT(page.value() < pages_, "a page lies in the machine");
    next_page_ = page.value() + 1;
    seen_ += std::to_integer<std::uint64_t>(contents[page_bytes - 1]);
    return {};
  }
  Result<> disk(std::size_t disk, std::uint64_t offset,
                std::span<const std::byte> contents) override {
    UNDERSTUDY_ASSERT(disk < disk_bytes_.size() && offset >= next_offset_[disk], "chunks rise");
    UNDERSTUDY_ASSERT(!contents.empty() && offset < disk_bytes_[disk] &&
                          contents.size() <= disk_bytes_[disk] - offset,
                      "a chunk lies on its disk");
    next_offset_[disk] = offset + contents.size();
    seen_ += std::to_integer<std::uint64_t>(contents.back());
    return {};
  }
  /// The device state was all there.
  [[nodiscard]] bool whole() const { return begun_ && device_bytes_left_ == 0; }

 private:
  bool begun_{};
  std::uint64_t pages_{};
  std::uint64_t device_bytes_left_{};
  std::uint64_t next_page_{};
  std::vector<std::uint64_t> disk_bytes_;
  std::vector<std::uint64_t> next_offset_;
  std::uint64_t seen_{};
};

/// As a file, and as the contents of blocks with right sums: u8 kind (its high bit: compressed, of
/// the size that follows), u16 bytes.
inline void fuzz_checkpoint(std::span<const std::byte> input) {
  {
    WatchfulSink sink;
    CheckpointDecoder decoder{sink};
    if (decode_all(input, decoder)) UNDERSTUDY_ASSERT(sink.whole(), "a whole file is whole");
  }
  using replication::get;
  std::vector<std::byte> file;
  std::uint64_t number = 0;
  const auto add = [&](const std::vector<std::byte>& block) {
    file.insert(file.end(), block.begin(), block.end());
    ++number;
  };
  if (!input.empty() && input[0] != std::byte{}) {
    std::vector<std::byte> message(forged_about(1).ByteSizeLong());
    forged_about(1).SerializeToArray(message.data(), static_cast<int>(message.size()));
    add(forge_block(number, CheckpointBlock::about, message));
  }
  for (auto rest = input.subspan(std::min<std::size_t>(input.size(), 1)); rest.size() > 3;) {
    const auto kind = get<std::uint8_t>(rest, 0);
    const auto size = std::min<std::size_t>(get<std::uint16_t>(rest, 1), rest.size() - 3);
    const auto stored = rest.subspan(3, size);
    constexpr std::uint8_t compressed = 0x80;
    const auto more = (kind & compressed) != 0 ? std::uint32_t{page_bytes} : 0U;
    add(forge_block(number, kind & ~std::uint32_t{compressed}, stored,
                    static_cast<std::uint32_t>(size) + more));
    rest = rest.subspan(3 + size);
  }
  WatchfulSink sink;
  CheckpointDecoder decoder{sink};
  if (decode_all(file, decoder)) UNDERSTUDY_ASSERT(sink.whole(), "a whole file is whole");
}

}  // namespace understudy::checkpointer
