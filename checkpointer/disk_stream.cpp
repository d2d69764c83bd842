#include "checkpointer/disk_stream.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include "checkpointer/disk_chunks.hpp"
#include "checkpointer/disk_digest.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::checkpointer {
DiskStream::DiskStream(GuestDisks& disks, FrameWriter& writer, Port port)
    : disks_{disks},
      writer_{writer},
      port_{std::move(port)},
      rate_{port_.bytes_per_second},
      chunk_(limits::disk_chunk_bytes) {
  disks_.set_mode(DiskMode::tracking);
}

DiskStream::~DiskStream() {
  disks_.set_mode(DiskMode::plain);
  disks_.log().close();
}

Result<> DiskStream::synchronise() {
  for (std::uint16_t disk = 0; disk < disks_.size(); ++disk) UNDERSTUDY_CHECK(compare(disk));
  for (std::size_t pass = 0; pass < limits::disk_sync_passes; ++pass) {
    UNDERSTUDY_TRY(const auto sent, send_marked(Pace::limited));
    if (sent <= limits::disk_chunks_left) break;
  }
  return {};
}

Result<> DiskStream::compare(std::uint16_t number) {
  auto& disk = disks_.disk(number);
  std::uint64_t sent = 0;
  // Short questions when it shall go slowly: each is answered at once.
  const auto step =
      port_.bytes_per_second == 0 ? limits::disk_digests : limits::disk_digests_at_a_rate;
  for (std::uint64_t first = 0; first < disk.chunks(); first += step) {
    if (port_.cancelled()) return fail(ErrorKind::closed, "synchronisation was ended");
    const auto count = std::min(step, disk.chunks() - first);
    replication::Request request;
    request.mutable_disk_digest()->set_disk(number);
    request.mutable_disk_digest()->set_first_chunk(first);
    request.mutable_disk_digest()->set_chunks(count);
    UNDERSTUDY_TRY(const auto reply, port_.ask(std::move(request)));
    const auto& theirs = reply.disk_digest().chunk_digest();
    UNDERSTUDY_TRY(const auto ours, digest_chunks(disk, chunk_range(first, count)));
    if (std::cmp_not_equal(theirs.size(), ours.size()))
      return fail(ErrorKind::protocol, "the backup digested {} chunks of {}", theirs.size(), count);
    for (std::uint64_t i = 0; i < count; ++i) {
      if (ours[i] == theirs[static_cast<int>(i)]) continue;
      UNDERSTUDY_CHECK(send_chunk(number, first + i));
      ++sent;
    }
    UNDERSTUDY_CHECK(keep_rate(count * limits::disk_chunk_bytes));
    port_.progress((static_cast<double>(number) +
                    static_cast<double>(first + count) / static_cast<double>(disk.chunks())) /
                   static_cast<double>(disks_.size()));
  }
  log::info("disk.compared",
            {log::kv("disk", number), log::kv("chunks", disk.chunks()), log::kv("differed", sent)});
  return {};
}

Result<> DiskStream::begin_epochs() {
  UNDERSTUDY_CHECK(send_marked(Pace::unlimited));
  disks_.log().open(port_.hasten);
  // The marks are taken under the same lock under which the log begins: no write falls between.
  for (std::uint16_t number = 0; number < disks_.size(); ++number) {
    for (const auto index : disks_.disk(number).begin_logging())
      UNDERSTUDY_CHECK(send_chunk(number, index));
  }
  writer_.flush();
  return {};
}

Result<std::uint64_t> DiskStream::send_marked(Pace pace) {
  std::uint64_t sent = 0;
  for (std::uint16_t number = 0; number < disks_.size(); ++number) {
    for (const auto index : disks_.disk(number).take_marked()) {
      if (port_.cancelled()) return fail(ErrorKind::closed, "synchronisation was ended");
      UNDERSTUDY_CHECK(send_chunk(number, index));
      if (pace == Pace::limited) UNDERSTUDY_CHECK(keep_rate(limits::disk_chunk_bytes));
      ++sent;
    }
  }
  return sent;
}

Result<> DiskStream::keep_rate(std::uint64_t bytes) {
  const auto next = rate_.spend(bytes, now());
  if (next > now()) writer_.flush();
  for (auto left = next - now(); left > Duration{}; left = next - now()) {
    if (port_.cancelled()) return fail(ErrorKind::closed, "synchronisation was ended");
    std::this_thread::sleep_for(std::min<Duration>(left, limits::disk_rate_step));
  }
  return {};
}

Result<> DiskStream::send_chunk(std::uint16_t number, std::uint64_t index) {
  auto& image = disks_.disk(number).image();
  const auto [offset, bytes] = disks_.disk(number).chunk(index);
  const auto data = std::span{chunk_}.first(bytes);
  if (const auto error = image.read(offset, data)) return fail_errno(image.path(), error.value());
  const auto what = contents_of(data);
  return write({number, what, offset, bytes, what == DiskContents::zeros ? data.first(0) : data});
}

Result<> DiskStream::cut() {
  UNDERSTUDY_TRY(epoch_, disks_.log().cut());
  return {};
}

Result<std::uint64_t> DiskStream::send(Epoch epoch) {
  writer_.begin(replication::FrameType::disk, epoch);
  for (const auto& one : std::exchange(epoch_, {}))
    UNDERSTUDY_CHECK(write({one.disk, one.what, one.offset, one.bytes, one.data}));
  writer_.flush();
  return writer_.frames();
}

Result<> DiskStream::write(DiskRecord record) {
  while (record.bytes > 0) {
    UNDERSTUDY_TRY(const auto room, writer_.room());
    writer_.wrote(encode_disk_record(record, room));
  }
  return {};
}

}  // namespace understudy::checkpointer
