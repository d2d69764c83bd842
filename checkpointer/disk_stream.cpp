#include "checkpointer/disk_stream.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include "checkpointer/disk_chunks.hpp"
#include "checkpointer/disk_digest.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"
#include "replication/random_number.hpp"

namespace understudy::checkpointer {
DiskStream::DiskStream(GuestDisks& disks, FrameWriter& writer, Port port)
    : disks_{disks},
      writer_{writer},
      port_{std::move(port)},
      rate_{port_.bytes_per_second},
      next_{replication::random_number(), replication::random_number()},
      chunk_(limits::disk_chunk_bytes) {
  disks_.set_mode(DiskMode::tracking);
}

DiskStream::~DiskStream() {
  disks_.set_mode(DiskMode::plain);
  disks_.log().close();
}

Result<> DiskStream::synchronise() {
  UNDERSTUDY_TRY(const auto plan, this->plan());
  tell(plan);
  to_compare_ = plan.chunks;
  for (std::uint16_t disk = 0; disk < disks_.size(); ++disk)
    UNDERSTUDY_CHECK(compare(disk, plan.runs[disk]));
  for (std::size_t pass = 0; pass < limits::disk_sync_passes; ++pass) {
    UNDERSTUDY_TRY(const auto sent, send_marked(Pace::limited));
    if (sent <= limits::disk_chunks_left) break;
  }
  return {};
}

Result<DiskStream::Plan> DiskStream::plan() {
  auto* activity = disks_.activity();
  if (activity == nullptr) return everything("no log is kept here");
  // Writes are tracked already: what the log does not name by now is marked to be sent.
  auto known = activity->begin_session(next_);
  const auto theirs = ask_map(known.pair);
  paired_ = theirs || theirs.error().kind == ErrorKind::conflict;
  if (!theirs && theirs.error().kind != ErrorKind::conflict &&
      theirs.error().kind != ErrorKind::unavailable) {
    return fail(theirs.error());
  }
  if (known.pair.none()) return everything("this host: " + known.why_none);
  if (!theirs) return everything("the backup: " + theirs.error().message);
  auto& extents = known.marked;
  extents.insert(extents.end(), theirs->begin(), theirs->end());
  Plan plan{{}, "the rest is known to be equal", 0};
  for (std::uint16_t number = 0; number < disks_.size(); ++number) {
    plan.runs.push_back(chunk_runs(extents, number, disks_.disk(number).chunks()));
    for (const auto& run : plan.runs.back()) plan.chunks += run.count;
  }
  return plan;
}

DiskStream::Plan DiskStream::everything(std::string why) {
  Plan plan{{}, std::move(why), 0};
  for (std::size_t number = 0; number < disks_.size(); ++number) {
    plan.runs.push_back({{0, disks_.disk(number).chunks()}});
    plan.chunks += disks_.disk(number).chunks();
  }
  return plan;
}

void DiskStream::tell(const Plan& plan) {
  std::uint64_t all = 0;
  for (std::size_t number = 0; number < disks_.size(); ++number) all += disks_.disk(number).bytes();
  const auto some = std::min(all, plan.chunks * limits::disk_chunk_bytes);
  const auto mib = [](std::uint64_t bytes) { return (bytes + (1U << 20U) - 1) >> 20U; };
  log::info("disk.synchronising",
            {log::kv("mib", mib(some)), log::kv("of_mib", mib(all)), log::kv("why", plan.why)});
}

Result<std::vector<Extent>> DiskStream::ask_map(PairId pair) {
  constexpr auto per_answer = limits::activity_map_bytes * 8;
  std::vector<Extent> extents;
  for (std::uint16_t number = 0; number < disks_.size(); ++number) {
    const auto bytes = disks_.disk(number).bytes();
    for (std::uint64_t first = 0; first < extents_in(bytes); first += per_answer) {
      replication::Request request;
      auto& asked = *request.mutable_disk_map();
      asked.mutable_pair()->set_high(pair.high);
      asked.mutable_pair()->set_low(pair.low);
      asked.mutable_next()->set_high(next_.high);
      asked.mutable_next()->set_low(next_.low);
      asked.set_disk(number);
      asked.set_first_extent(first);
      UNDERSTUDY_TRY(const auto reply, port_.ask(std::move(request)));
      if (!reply.has_disk_map())
        return fail(ErrorKind::protocol, "the backup did not tell where its disks may differ");
      const auto& map = reply.disk_map();
      if (!map.unknown().empty()) return fail(ErrorKind::conflict, "{}", map.unknown());
      UNDERSTUDY_CHECK(add_bitmap(map.extents(), number, first, bytes, extents));
    }
  }
  return extents;
}

Result<> DiskStream::compare(std::uint16_t number, std::span<const ChunkRun> runs) {
  std::uint64_t looked_at = 0;
  std::uint64_t sent = 0;
  // Short questions when it shall go slowly: each is answered at once.
  const auto step =
      port_.bytes_per_second == 0 ? limits::disk_digests : limits::disk_digests_at_a_rate;
  for (const auto& run : runs) {
    for (auto first = run.first; first < run.first + run.count; first += step) {
      if (port_.cancelled()) return fail(ErrorKind::closed, "synchronisation was ended");
      const auto count = std::min(step, run.first + run.count - first);
      UNDERSTUDY_TRY(const auto differed, compare_some(number, {first, count}));
      sent += differed;
      looked_at += count;
      compared_ += count;
      UNDERSTUDY_CHECK(keep_rate(count * limits::disk_chunk_bytes));
      port_.progress(static_cast<double>(compared_) / static_cast<double>(to_compare_));
    }
  }
  log::info("disk.compared",
            {log::kv("disk", number), log::kv("chunks", looked_at),
             log::kv("of", disks_.disk(number).chunks()), log::kv("differed", sent)});
  return {};
}

Result<std::uint64_t> DiskStream::compare_some(std::uint16_t number, ChunkRun run) {
  auto& disk = disks_.disk(number);
  replication::Request request;
  request.mutable_disk_digest()->set_disk(number);
  request.mutable_disk_digest()->set_first_chunk(run.first);
  request.mutable_disk_digest()->set_chunks(run.count);
  UNDERSTUDY_TRY(const auto reply, port_.ask(std::move(request)));
  const auto& theirs = reply.disk_digest().chunk_digest();
  UNDERSTUDY_TRY(const auto ours, digest_chunks(disk, chunk_range(run.first, run.count)));
  if (std::cmp_not_equal(theirs.size(), ours.size())) {
    return fail(ErrorKind::protocol, "the backup digested {} chunks of {}", theirs.size(),
                run.count);
  }
  std::uint64_t sent = 0;
  for (std::uint64_t i = 0; i < run.count; ++i) {
    if (ours[i] == theirs[static_cast<int>(i)]) continue;
    UNDERSTUDY_CHECK(send_chunk(number, run.first + i));
    ++sent;
  }
  return sent;
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

Result<> DiskStream::cut(Epoch epoch) {
  if (auto* activity = disks_.activity(); activity != nullptr) activity->seal(epoch);
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
