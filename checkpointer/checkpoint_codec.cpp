#include "checkpointer/checkpoint_codec.hpp"

#include <algorithm>
#include <utility>

#include <zstd.h>

#include "checkpointer/offer.hpp"
#include "config/assert.hpp"
#include "config/limits.hpp"
#include "config/names.hpp"
#include "config/zeros.hpp"
#include "replication/little_endian.hpp"

namespace understudy::checkpointer {
namespace {

using replication::get;
using replication::put;

constexpr std::uint32_t format = 1;
constexpr std::size_t sum_at = checkpoint_head_bytes - ContentHash::bytes;
constexpr std::size_t units_head_bytes = 8;
constexpr std::size_t end_bytes = 4 * sizeof(std::uint64_t) + ContentHash::bytes;
constexpr int compression_level = 1;
constexpr std::uint32_t memory_area = 0;
constexpr std::uint64_t sector_bytes = 512;
constexpr std::uint64_t disk_bytes_max = std::uint64_t{1} << 50U;

std::string sum(std::span<const std::byte> head, std::span<const std::byte> stored) {
  ContentHash hash;
  hash.add(head.first(sum_at));
  hash.add(stored);
  return hash.digest();
}

bool equal(std::span<const std::byte> bytes, const std::string& digest) {
  return std::ranges::equal(bytes, std::as_bytes(std::span{digest}));
}

template <class Strings>
bool printable(const Strings& texts) {
  constexpr auto graphic = [](char c) { return c >= ' ' && c <= '~'; };
  return std::ranges::all_of(
      texts, [=](const std::string& text) { return std::ranges::all_of(text, graphic); });
}

}  // namespace

// --- writing

void CheckpointEncoder::Free::operator()(ZSTD_CCtx_s* context) const {
  ZSTD_freeCCtx(context);
}

CheckpointEncoder::CheckpointEncoder(Out out)
    : out_{std::move(out)}, compressor_{ZSTD_createCCtx()} {
  UNDERSTUDY_ASSERT(compressor_, "there is memory for a compressor");
}

CheckpointEncoder::~CheckpointEncoder() = default;

Result<> CheckpointEncoder::begin(const Checkpoint& about, std::span<const std::byte> devices) {
  UNDERSTUDY_ASSERT(about.device_bytes() == devices.size(), "all of the device state is given");
  UNDERSTUDY_CHECK(check_about(about));
  std::vector<std::byte> message(about.ByteSizeLong());
  about.SerializeToArray(message.data(), static_cast<int>(message.size()));
  UNDERSTUDY_CHECK(block(CheckpointBlock::about, message));
  while (!devices.empty()) {
    const auto piece = std::min(devices.size(), limits::checkpoint_block_bytes);
    UNDERSTUDY_CHECK(block(CheckpointBlock::devices, devices.first(piece)));
    devices = devices.subspan(piece);
  }
  return {};
}

Result<> CheckpointEncoder::add_page(PageIndex page, ConstPage contents) {
  if (all_zeros(contents)) return {};
  ++counts_.pages;
  return add(memory_area, page.value(), contents);
}

Result<> CheckpointEncoder::add_chunk(std::size_t disk, std::uint64_t chunk,
                                      std::span<const std::byte> contents) {
  if (all_zeros(contents)) return {};
  ++counts_.chunks;
  return add(static_cast<std::uint32_t>(disk + 1), chunk, contents);
}

Result<> CheckpointEncoder::add(std::uint32_t area, std::uint64_t number,
                                std::span<const std::byte> contents) {
  const bool full = units_.size() + contents.size() > limits::checkpoint_block_bytes;
  if (area != area_ || full) UNDERSTUDY_CHECK(flush_units());
  area_ = area;
  numbers_.push_back(number);
  units_.insert(units_.end(), contents.begin(), contents.end());
  return {};
}

Result<> CheckpointEncoder::flush_units() {
  if (numbers_.empty()) return {};
  contents_.resize(units_head_bytes + numbers_.size() * sizeof(std::uint64_t));
  put(contents_, 0, area_);
  put(contents_, 4, static_cast<std::uint32_t>(numbers_.size()));
  for (std::size_t i = 0; i < numbers_.size(); ++i)
    put(contents_, units_head_bytes + i * sizeof(std::uint64_t), numbers_[i]);
  contents_.insert(contents_.end(), units_.begin(), units_.end());
  numbers_.clear();
  units_.clear();
  return block(CheckpointBlock::units, contents_);
}

Result<> CheckpointEncoder::end() {
  UNDERSTUDY_CHECK(flush_units());
  std::array<std::byte, end_bytes> contents{};
  put(contents, 0, counts_.blocks);
  put(contents, 8, counts_.pages);
  put(contents, 16, counts_.chunks);
  put(contents, 24, counts_.bytes);
  const auto digest = whole_.digest();
  std::ranges::copy(std::as_bytes(std::span{digest}), contents.begin() + 32);
  return block(CheckpointBlock::end, contents);
}

Result<> CheckpointEncoder::block(CheckpointBlock kind, std::span<const std::byte> contents) {
  stored_.resize(checkpoint_head_bytes + contents.size());
  // Only a result that is smaller is of use.
  auto size =
      ZSTD_compressCCtx(compressor_.get(), stored_.data() + checkpoint_head_bytes,
                        contents.size() - 1, contents.data(), contents.size(), compression_level);
  if (ZSTD_isError(size) != 0) {
    size = contents.size();
    std::ranges::copy(contents, stored_.begin() + checkpoint_head_bytes);
  }
  stored_.resize(checkpoint_head_bytes + size);
  put(stored_, 0, checkpoint_magic);
  put(stored_, 4, format);
  put(stored_, 8, static_cast<std::uint32_t>(kind));
  put(stored_, 12, static_cast<std::uint32_t>(size));
  put(stored_, 16, static_cast<std::uint32_t>(contents.size()));
  put(stored_, 20, std::uint32_t{0});
  put(stored_, 24, counts_.blocks);
  const auto digest = sum(stored_, std::span{stored_}.subspan(checkpoint_head_bytes));
  std::ranges::copy(std::as_bytes(std::span{digest}), stored_.begin() + sum_at);
  whole_.add(stored_);
  ++counts_.blocks;
  counts_.bytes += stored_.size();
  return out_(stored_);
}

// --- reading

Result<> check_about(const Checkpoint& about) {
  const auto bad = [](const char* what) { return fail(ErrorKind::invalid, "{}", what); };
  const auto& machine = about.machine();
  const auto& fingerprint = machine.fingerprint();
  if (about.ByteSizeLong() > limits::checkpoint_about_bytes) return bad("it says too much");
  if (!valid_name(machine.guest().name())) return bad("the guest has no valid name");
  std::vector<std::string> texts{about.host(),
                                 about.version(),
                                 fingerprint.hypervisor(),
                                 fingerprint.machine(),
                                 fingerprint.cpu(),
                                 fingerprint.accelerator(),
                                 fingerprint.cpu_features(),
                                 machine.guest().cpu(),
                                 machine.guest().machine()};
  for (const auto& nic : machine.guest().nic()) texts.insert(texts.end(), {nic.model(), nic.mac()});
  for (const auto& disk : machine.guest().disk()) texts.push_back(disk.model());
  if (!printable(texts) || !printable(fingerprint.boot_digest()))
    return bad("a text has characters that are none");
  UNDERSTUDY_TRY(const auto layout, layout_of(machine));
  for (const auto& block : layout.blocks()) {
    if (!printable(std::array{block.name})) return bad("a RAM block's name is no text");
  }
  if (about.device_bytes() == 0 || about.device_bytes() > limits::device_state_bytes)
    return bad("the device state has no possible size");
  if (std::cmp_not_equal(about.used_bytes_size(), layout.blocks().size()))
    return bad("not every RAM block has a used size");
  for (int i = 0; i < about.used_bytes_size(); ++i) {
    if (about.used_bytes(i) > layout.blocks()[static_cast<std::size_t>(i)].max_bytes)
      return bad("a RAM block is used beyond its size");
  }
  if (std::cmp_greater(machine.disk_bytes_size(), limits::disks_per_guest) ||
      machine.disk_bytes_size() != machine.guest().disk_size())
    return bad("the number of disks is not possible");
  for (const auto bytes : machine.disk_bytes()) {
    if (bytes == 0 || bytes % sector_bytes != 0 || bytes > disk_bytes_max)
      return bad("a disk has no possible size");
  }
  return {};
}

void CheckpointDecoder::Free::operator()(ZSTD_DCtx_s* context) const {
  ZSTD_freeDCtx(context);
}

CheckpointDecoder::CheckpointDecoder(CheckpointSink& sink)
    : sink_{sink}, decompressor_{ZSTD_createDCtx()} {
  UNDERSTUDY_ASSERT(decompressor_, "there is memory for a decompressor");
}

CheckpointDecoder::~CheckpointDecoder() = default;

tl::unexpected<Error> CheckpointDecoder::damaged(std::string_view what) const {
  return fail(ErrorKind::invalid,
              "it is damaged in the block at byte {}: {}; copy it anew from where it was exported",
              counts_.bytes, what);
}

Result<> CheckpointDecoder::take(std::span<const std::byte> bytes) {
  UNDERSTUDY_ASSERT(wanted_ > 0 && bytes.size() == wanted_, "what is wanted is given");
  return head_ ? take_stored(bytes) : take_head(bytes);
}

Result<> CheckpointDecoder::take_head(std::span<const std::byte> bytes) {
  if (get<std::uint32_t>(bytes, 0) != checkpoint_magic) {
    if (counts_.blocks > 0) return damaged("no block begins there");
    return fail(ErrorKind::invalid, "it is no checkpoint file of `understudy export`");
  }
  if (const auto theirs = get<std::uint32_t>(bytes, 4); theirs != format) {
    return fail(ErrorKind::invalid,
                "it has format {} and this understudyd knows {}; use the version that wrote it",
                theirs, format);
  }
  const Head head{static_cast<CheckpointBlock>(get<std::uint32_t>(bytes, 8)),
                  get<std::uint32_t>(bytes, 12), get<std::uint32_t>(bytes, 16)};
  if (head.contents > limits::checkpoint_contents_bytes || head.stored == 0 ||
      head.stored > head.contents || get<std::uint32_t>(bytes, 20) != 0)
    return damaged("its size is not possible");
  if (get<std::uint64_t>(bytes, 24) != counts_.blocks)
    return damaged("it is not the one that follows");
  std::ranges::copy(bytes, head_bytes_.begin());
  head_ = head;
  wanted_ = head.stored;
  return {};
}

Result<> CheckpointDecoder::take_stored(std::span<const std::byte> stored) {
  if (!equal(std::span{head_bytes_}.subspan(sum_at), sum(head_bytes_, stored)))
    return damaged("its checksum is wrong");
  auto contents = stored;
  if (head_->stored < head_->contents) {
    contents_.resize(head_->contents);
    const auto size = ZSTD_decompressDCtx(decompressor_.get(), contents_.data(), contents_.size(),
                                          stored.data(), stored.size());
    if (size != contents_.size()) return damaged("it cannot be decompressed");
    contents = contents_;
  }
  const auto kind = head_->kind;
  UNDERSTUDY_CHECK(take_contents(contents));
  if (kind != CheckpointBlock::end) {
    whole_.add(head_bytes_);
    whole_.add(stored);
  }
  ++counts_.blocks;
  counts_.bytes += checkpoint_head_bytes + stored.size();
  head_.reset();
  wanted_ = kind == CheckpointBlock::end ? 0 : checkpoint_head_bytes;
  return {};
}

Result<> CheckpointDecoder::take_contents(std::span<const std::byte> contents) {
  const auto kind = head_->kind;
  if ((kind == CheckpointBlock::about) != (counts_.blocks == 0))
    return damaged("it is not in its place");
  if (kind == CheckpointBlock::about) return take_about(contents);
  if ((kind == CheckpointBlock::devices) != (device_bytes_left_ > 0))
    return damaged("it is not in its place");
  switch (kind) {
    case CheckpointBlock::devices: return take_devices(contents);
    case CheckpointBlock::units: return take_units(contents);
    case CheckpointBlock::end: return take_end(contents);
    default: return damaged("its kind is not known");
  }
}

Result<> CheckpointDecoder::take_about(std::span<const std::byte> contents) {
  Checkpoint about;
  if (contents.size() > limits::checkpoint_about_bytes ||
      !about.ParseFromArray(contents.data(), static_cast<int>(contents.size())))
    return damaged("it does not say what guest this is");
  if (const auto checked = check_about(about); !checked) return damaged(checked.error().message);
  pages_ = layout_of(about.machine())->pages();
  disk_bytes_.assign(about.machine().disk_bytes().begin(), about.machine().disk_bytes().end());
  device_bytes_left_ = about.device_bytes();
  return sink_.begin(about);
}

Result<> CheckpointDecoder::take_devices(std::span<const std::byte> contents) {
  if (contents.size() > device_bytes_left_) return damaged("there is too much device state");
  device_bytes_left_ -= contents.size();
  return sink_.devices(contents);
}

Result<> CheckpointDecoder::take_units(std::span<const std::byte> contents) {
  if (contents.size() < units_head_bytes) return damaged("it has no pages");
  const auto area = get<std::uint32_t>(contents, 0);
  const auto count = get<std::uint32_t>(contents, 4);
  auto units = contents.subspan(units_head_bytes);
  if (area < area_ || area > disk_bytes_.size() || count == 0 ||
      count > units.size() / sizeof(std::uint64_t))
    return damaged("its pages are not in their place");
  if (area != area_) next_unit_ = 0;
  area_ = area;
  const auto numbers = units.first(count * sizeof(std::uint64_t));
  units = units.subspan(numbers.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto number = get<std::uint64_t>(numbers, i * sizeof(std::uint64_t));
    UNDERSTUDY_CHECK(take_unit(area, number, units));
    next_unit_ = number + 1;
  }
  return units.empty() ? Result<>{} : damaged("it is longer than its pages");
}

Result<> CheckpointDecoder::take_unit(std::uint32_t area, std::uint64_t number,
                                      std::span<const std::byte>& units) {
  const auto disk = std::size_t{area} - 1;
  const bool memory = area == memory_area;
  const auto unit_bytes = memory ? page_bytes : std::size_t{limits::disk_chunk_bytes};
  const auto all = memory ? pages_ * page_bytes : disk_bytes_[disk];
  if (number < next_unit_ || number >= (all + unit_bytes - 1) / unit_bytes)
    return damaged("a page or chunk is not in its place");
  const auto offset = number * unit_bytes;
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(unit_bytes, all - offset));
  if (units.size() < size) return damaged("it is shorter than its pages");
  const auto contents = units.first(size);
  units = units.subspan(size);
  if (memory) {
    ++counts_.pages;
    return sink_.page(PageIndex{number}, contents.first<page_bytes>());
  }
  ++counts_.chunks;
  return sink_.disk(disk, offset, contents);
}

Result<> CheckpointDecoder::take_end(std::span<const std::byte> contents) {
  if (contents.size() != end_bytes || get<std::uint64_t>(contents, 0) != counts_.blocks ||
      get<std::uint64_t>(contents, 8) != counts_.pages ||
      get<std::uint64_t>(contents, 16) != counts_.chunks ||
      get<std::uint64_t>(contents, 24) != counts_.bytes ||
      !equal(contents.subspan(32), whole_.digest()))
    return damaged("the end does not fit what goes before it");
  return {};
}

}  // namespace understudy::checkpointer
