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

constexpr std::uint64_t log_magic = 0x31304c4159445355;  // "USDYAL01"
constexpr std::size_t log_head_bytes = 256;
constexpr std::size_t log_record_bytes = 32;
constexpr std::size_t log_images_at = 40;
constexpr std::size_t log_image_bytes = 24;
constexpr std::size_t log_head_sum_at = log_head_bytes - sizeof(std::uint64_t);
constexpr std::size_t log_record_sum_at = log_record_bytes - sizeof(std::uint64_t);
static_assert(log_images_at + limits::disks_per_guest * log_image_bytes <= log_head_sum_at);

enum class LogRecordKind : std::uint16_t { mark = 1, modified = 2 };

struct LogRecord {
  std::uint64_t value{};
  std::uint64_t batch{};
  LogRecordKind kind{};
  std::uint16_t disk{};
  std::uint32_t left{};
};

std::uint64_t log_sum_of(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

/// Bound to its file by the head's checksum, and to its place.
void encode(const LogRecord& record, std::uint64_t seed, std::uint64_t at,
            std::span<std::byte> out) {
  put(out, 0, record.value);
  put(out, 8, record.batch);
  put(out, 16, static_cast<std::uint16_t>(record.kind));
  put(out, 18, record.disk);
  put(out, 20, record.left);
  put(out, log_record_sum_at, log_sum_of(out.first(log_record_sum_at), seed + at));
}

std::optional<LogRecord> decode(std::span<const std::byte> file, std::uint64_t seed,
                                std::uint64_t at) {
  const auto bytes = file.subspan(at, log_record_bytes);
  if (get<std::uint64_t>(bytes, log_record_sum_at) !=
      log_sum_of(bytes.first(log_record_sum_at), seed + at))
    return std::nullopt;
  return LogRecord{get<std::uint64_t>(bytes, 0), get<std::uint64_t>(bytes, 8),
                   static_cast<LogRecordKind>(get<std::uint16_t>(bytes, 16)),
                   get<std::uint16_t>(bytes, 18), get<std::uint32_t>(bytes, 20)};
}

std::vector<std::byte> encode_batch(std::span<LogRecord> records, std::uint64_t seed,
                                    std::uint64_t at) {
  std::vector<std::byte> bytes(records.size() * log_record_bytes);
  auto left = static_cast<std::uint32_t>(records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].left = --left;
    encode(records[i], seed, at + i * log_record_bytes,
           std::span{bytes}.subspan(i * log_record_bytes, log_record_bytes));
  }
  return bytes;
}

std::vector<LogRecord> marks_of(std::span<const Extent> extents, std::uint64_t batch) {
  std::vector<LogRecord> records;
  for (const auto& one : extents)
    records.push_back({one.index, batch, LogRecordKind::mark, one.disk});
  return records;
}

/// Reads records one after the other, as long as they follow each other.
class LogReader {
 public:
  LogReader(std::span<const std::byte> file, std::uint64_t seed) : file_{file}, seed_{seed} {}

  [[nodiscard]] Result<ActivityRecord> read(ActivityRecord head, std::uint64_t first_records) {
    std::uint64_t count = 0;
    auto at = std::uint64_t{log_head_bytes};
    for (; at + log_record_bytes <= file_.size(); at += log_record_bytes, ++count) {
      const auto record = decode(file_, seed_, at);
      if (!record) break;
      if (!follows(*record) || !take(*record, head)) return damaged();
      last_ = *record;
    }
    if (count < first_records) return damaged();
    // The batch behind the last whole one may be torn, but not one with another behind it.
    const auto torn = last_.left > 0 ? last_.batch : last_.batch + 1;
    for (; at + log_record_bytes <= file_.size(); at += log_record_bytes) {
      const auto record = decode(file_, seed_, at);
      if (record && record->batch > torn) return damaged();
    }
    head.clean = last_.kind == LogRecordKind::modified && last_.left == 0;
    std::ranges::sort(head.marked);
    // Not std::ranges::unique, which Clang 14 cannot compile.
    head.marked.erase(std::unique(head.marked.begin(), head.marked.end()), head.marked.end());
    return head;
  }

  static tl::unexpected<Error> damaged() {
    return fail(ErrorKind::invalid, "the log of what was written is damaged");
  }

 private:
  [[nodiscard]] bool follows(const LogRecord& record) const {
    if (last_.left == 0) return record.batch == last_.batch + 1;
    return record.batch == last_.batch && record.left + 1 == last_.left &&
           record.kind == last_.kind;
  }

  [[nodiscard]] bool take(const LogRecord& record, ActivityRecord& into) const {
    if (record.disk >= into.images.size()) return false;
    auto& image = into.images[record.disk];
    if (record.kind == LogRecordKind::modified) {
      image.modified_ns = record.value;
      return into.images.size() == record.disk + record.left + 1;
    }
    if (record.kind != LogRecordKind::mark || last_.kind == LogRecordKind::modified) return false;
    into.marked.push_back({record.disk, record.value});
    return record.value <= (image.bytes - 1) / limits::activity_extent_bytes;
  }

  std::span<const std::byte> file_;
  std::uint64_t seed_;
  LogRecord last_;
};

}  // namespace

std::size_t ActivityTail::room() const {
  const auto records = (end_ - at_) / log_record_bytes;
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
  std::vector<LogRecord> records;
  for (const auto& one : images) {
    const auto disk = static_cast<std::uint16_t>(records.size());
    records.push_back({one.modified_ns, batch_, LogRecordKind::modified, disk});
  }
  return append(records);
}

ActivityImage::ActivityImage(const ActivityRecord& record)
    : bytes(log_head_bytes +
            (record.marked.size() + limits::activity_spare + limits::disks_per_guest) *
                log_record_bytes) {
  UNDERSTUDY_ASSERT(record.images.size() <= limits::disks_per_guest, "checked in the settings");
  const auto head = std::span{bytes}.first(log_head_bytes);
  put(head, 0, log_magic);
  put(head, 8, record.pair.high);
  put(head, 16, record.pair.low);
  put(head, 24, std::uint64_t{record.images.size()});
  put(head, 32, std::uint64_t{record.marked.size()});
  auto at = log_images_at;
  for (const auto& one : record.images) {
    put(head, at, one.bytes);
    put(head, at + 8, one.inode);
    put(head, at + 16, one.born_ns);
    at += log_image_bytes;
  }
  tail.seed_ = log_sum_of(head.first(log_head_sum_at), 0);
  put(head, log_head_sum_at, tail.seed_);
  tail.at_ = log_head_bytes;
  tail.end_ = bytes.size();
  if (record.marked.empty()) return;
  std::ranges::copy(tail.marks(record.marked).bytes, bytes.begin() + log_head_bytes);
}

Result<ActivityRecord> decode_activity(std::span<const std::byte> file) {
  if (file.size() < log_head_bytes || get<std::uint64_t>(file, 0) != log_magic)
    return LogReader::damaged();
  const auto seed = get<std::uint64_t>(file, log_head_sum_at);
  if (seed != log_sum_of(file.first(log_head_sum_at), 0)) return LogReader::damaged();
  ActivityRecord head;
  head.pair = {get<std::uint64_t>(file, 8), get<std::uint64_t>(file, 16)};
  const auto images = get<std::uint64_t>(file, 24);
  if (images == 0 || images > limits::disks_per_guest) return LogReader::damaged();
  for (std::size_t i = 0; i < images; ++i) {
    const auto at = log_images_at + i * log_image_bytes;
    head.images.push_back({get<std::uint64_t>(file, at), get<std::uint64_t>(file, at + 8),
                           get<std::uint64_t>(file, at + 16), 0});
    if (head.images.back().bytes == 0) return LogReader::damaged();
  }
  return LogReader{file, seed}.read(std::move(head), get<std::uint64_t>(file, 32));
}

std::uint64_t activity_file_bytes_max() {
  return log_head_bytes +
         (limits::activity_extents + limits::activity_spare + limits::disks_per_guest) *
             log_record_bytes;
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
