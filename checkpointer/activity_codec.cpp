#include "checkpointer/activity_codec.hpp"

#include <algorithm>
#include <optional>

#include <xxhash.h>

#include "config/assert.hpp"
#include "config/limits.hpp"
#include "replication/little_endian.hpp"

namespace understudy::checkpointer {
namespace {

using replication::get;
using replication::put;

constexpr std::uint64_t magic = 0x31304c4159445355;  // "USDYAL01"
constexpr std::size_t head_bytes = 256;
constexpr std::size_t record_bytes = 32;
constexpr std::size_t images_at = 40;
constexpr std::size_t image_bytes = 24;
constexpr std::size_t head_sum_at = head_bytes - sizeof(std::uint64_t);
constexpr std::size_t record_sum_at = record_bytes - sizeof(std::uint64_t);
static_assert(images_at + limits::disks_per_guest * image_bytes <= head_sum_at);

enum class Kind : std::uint16_t { mark = 1, modified = 2 };

struct Record {
  std::uint64_t value{};
  std::uint64_t batch{};
  Kind kind{};
  std::uint16_t disk{};
  std::uint32_t left{};
};

std::uint64_t sum_of(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

/// Bound to its file by the head's checksum, and to its place.
void encode(const Record& record, std::uint64_t seed, std::uint64_t at, std::span<std::byte> out) {
  put(out, 0, record.value);
  put(out, 8, record.batch);
  put(out, 16, static_cast<std::uint16_t>(record.kind));
  put(out, 18, record.disk);
  put(out, 20, record.left);
  put(out, record_sum_at, sum_of(out.first(record_sum_at), seed + at));
}

std::optional<Record> decode(std::span<const std::byte> file, std::uint64_t seed,
                             std::uint64_t at) {
  const auto bytes = file.subspan(at, record_bytes);
  if (get<std::uint64_t>(bytes, record_sum_at) != sum_of(bytes.first(record_sum_at), seed + at))
    return std::nullopt;
  return Record{get<std::uint64_t>(bytes, 0), get<std::uint64_t>(bytes, 8),
                static_cast<Kind>(get<std::uint16_t>(bytes, 16)), get<std::uint16_t>(bytes, 18),
                get<std::uint32_t>(bytes, 20)};
}

std::vector<std::byte> encode_batch(std::span<Record> records, std::uint64_t seed,
                                    std::uint64_t at) {
  std::vector<std::byte> bytes(records.size() * record_bytes);
  auto left = static_cast<std::uint32_t>(records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].left = --left;
    encode(records[i], seed, at + i * record_bytes,
           std::span{bytes}.subspan(i * record_bytes, record_bytes));
  }
  return bytes;
}

std::vector<Record> marks_of(std::span<const Extent> extents, std::uint64_t batch) {
  std::vector<Record> records;
  for (const auto& one : extents) records.push_back({one.index, batch, Kind::mark, one.disk});
  return records;
}

/// Reads records one after the other, as long as they follow each other.
class Reader {
 public:
  Reader(std::span<const std::byte> file, std::uint64_t seed) : file_{file}, seed_{seed} {}

  [[nodiscard]] Result<ActivityRecord> read(ActivityRecord head, std::uint64_t first_records) {
    std::uint64_t count = 0;
    auto at = std::uint64_t{head_bytes};
    for (; at + record_bytes <= file_.size(); at += record_bytes, ++count) {
      const auto record = decode(file_, seed_, at);
      if (!record) break;
      if (!follows(*record) || !take(*record, head)) return damaged();
      last_ = *record;
    }
    if (count < first_records) return damaged();
    // The batch behind the last whole one may be torn, but not one with another behind it.
    const auto torn = last_.left > 0 ? last_.batch : last_.batch + 1;
    for (; at + record_bytes <= file_.size(); at += record_bytes) {
      const auto record = decode(file_, seed_, at);
      if (record && record->batch > torn) return damaged();
    }
    head.clean = last_.kind == Kind::modified && last_.left == 0;
    std::ranges::sort(head.marked);
    head.marked.erase(std::ranges::unique(head.marked).begin(), head.marked.end());
    return head;
  }

  static tl::unexpected<Error> damaged() {
    return fail(ErrorKind::invalid, "the log of what was written is damaged");
  }

 private:
  [[nodiscard]] bool follows(const Record& record) const {
    if (last_.left == 0) return record.batch == last_.batch + 1;
    return record.batch == last_.batch && record.left + 1 == last_.left &&
           record.kind == last_.kind;
  }

  [[nodiscard]] bool take(const Record& record, ActivityRecord& into) const {
    if (record.disk >= into.images.size()) return false;
    auto& image = into.images[record.disk];
    if (record.kind == Kind::modified) {
      image.modified_ns = record.value;
      return into.images.size() == record.disk + record.left + 1;
    }
    if (record.kind != Kind::mark || last_.kind == Kind::modified) return false;
    into.marked.push_back({record.disk, record.value});
    return record.value <= (image.bytes - 1) / limits::activity_extent_bytes;
  }

  std::span<const std::byte> file_;
  std::uint64_t seed_;
  Record last_;
};

}  // namespace

std::size_t ActivityTail::room() const {
  const auto records = (end_ - at_) / record_bytes;
  return records > limits::disks_per_guest ? records - limits::disks_per_guest : 0;
}

template <class Records>
ActivityBatch ActivityTail::append(Records& records) {
  ActivityBatch batch{at_, encode_batch(records, seed_, at_)};
  at_ += batch.bytes.size();
  UNDERSTUDY_ASSERT(at_ <= end_, "whoever appends has looked for room");
  return batch;
}

ActivityBatch ActivityTail::marks(std::span<const Extent> extents) {
  auto records = marks_of(extents, ++batch_);
  return append(records);
}

ActivityBatch ActivityTail::clean_end(std::span<const ImageIdentity> images) {
  ++batch_;
  std::vector<Record> records;
  for (const auto& one : images) {
    const auto disk = static_cast<std::uint16_t>(records.size());
    records.push_back({one.modified_ns, batch_, Kind::modified, disk});
  }
  return append(records);
}

ActivityImage::ActivityImage(const ActivityRecord& record)
    : bytes(head_bytes + (record.marked.size() + limits::activity_spare + limits::disks_per_guest) *
                             record_bytes) {
  UNDERSTUDY_ASSERT(record.images.size() <= limits::disks_per_guest, "checked in the settings");
  const auto head = std::span{bytes}.first(head_bytes);
  put(head, 0, magic);
  put(head, 8, record.pair.high);
  put(head, 16, record.pair.low);
  put(head, 24, std::uint64_t{record.images.size()});
  put(head, 32, std::uint64_t{record.marked.size()});
  auto at = images_at;
  for (const auto& one : record.images) {
    put(head, at, one.bytes);
    put(head, at + 8, one.inode);
    put(head, at + 16, one.born_ns);
    at += image_bytes;
  }
  tail.seed_ = sum_of(head.first(head_sum_at), 0);
  put(head, head_sum_at, tail.seed_);
  tail.at_ = head_bytes;
  tail.end_ = bytes.size();
  if (record.marked.empty()) return;
  std::ranges::copy(tail.marks(record.marked).bytes, bytes.begin() + head_bytes);
}

Result<ActivityRecord> decode_activity(std::span<const std::byte> file) {
  if (file.size() < head_bytes || get<std::uint64_t>(file, 0) != magic) return Reader::damaged();
  const auto seed = get<std::uint64_t>(file, head_sum_at);
  if (seed != sum_of(file.first(head_sum_at), 0)) return Reader::damaged();
  ActivityRecord head;
  head.pair = {get<std::uint64_t>(file, 8), get<std::uint64_t>(file, 16)};
  const auto images = get<std::uint64_t>(file, 24);
  if (images == 0 || images > limits::disks_per_guest) return Reader::damaged();
  for (std::size_t i = 0; i < images; ++i) {
    const auto at = images_at + i * image_bytes;
    head.images.push_back({get<std::uint64_t>(file, at), get<std::uint64_t>(file, at + 8),
                           get<std::uint64_t>(file, at + 16), 0});
    if (head.images.back().bytes == 0) return Reader::damaged();
  }
  return Reader{file, seed}.read(std::move(head), get<std::uint64_t>(file, 32));
}

std::uint64_t activity_file_bytes_max() {
  return head_bytes +
         (limits::activity_extents + limits::activity_spare + limits::disks_per_guest) *
             record_bytes;
}

std::vector<Extent> extents_of(std::uint16_t disk, std::uint64_t offset, std::uint64_t bytes) {
  std::vector<Extent> extents;
  if (bytes == 0) return extents;
  const auto last = (offset + bytes - 1) / limits::activity_extent_bytes;
  for (auto i = offset / limits::activity_extent_bytes; i <= last; ++i)
    extents.push_back({disk, i});
  return extents;
}

}  // namespace understudy::checkpointer
