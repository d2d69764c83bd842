#include <atomic>
#include <functional>
#include <thread>

#include <catch2/catch.hpp>

#include "checkpointer/activity_file.hpp"
#include "checkpointer/activity_map.hpp"
#include "config/limits.hpp"
#include "disk_world.hpp"
#include "tests/unit/fuzz_seed.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Extents = std::vector<Extent>;

constexpr PairId some_pair{3, 4};
constexpr std::uint64_t big_disk_bytes = 64 * limits::activity_extent_bytes + 512;

ActivityRecord record_of(Extents marked) {
  return {some_pair, {{big_disk_bytes, 7, 8, 0}, {4096, 9, 0, 0}}, std::move(marked), false};
}

/// A log's file of two marks, and one of three more in two batches.
std::vector<std::byte> file_with_batches() {
  ActivityImage image{record_of({{0, 1}, {0, 5}})};
  const auto append = [&](const Extents& extents) {
    const auto batch = image.tail.marks(extents);
    std::ranges::copy(batch.bytes, image.bytes.begin() + static_cast<std::ptrdiff_t>(batch.at));
  };
  append({{0, 64}, {1, 0}});
  append({{0, 9}});
  return image.bytes;
}

constexpr std::size_t log_head_bytes = 256;
constexpr std::size_t log_record_bytes = 32;

/// Its store in memory; refuses what it is told to.
struct LogDisk {
  std::optional<std::vector<std::byte>> file;
  bool refuses_writes{};
  bool refuses_removal{};
  int appended{};
  std::function<void()> on_append{[] {}};
  std::function<void()> on_replace{[] {}};
  int flushed{};
};

class LogDiskStore final : public ActivityStore {
 public:
  explicit LogDiskStore(LogDisk& disk) : disk_{disk} {}
  Result<std::optional<std::vector<std::byte>>> load() override { return disk_.file; }
  Result<> replace(std::span<const std::byte> file) override {
    if (disk_.refuses_writes) return fail(ErrorKind::io, "no space");
    disk_.on_replace();
    disk_.file = std::vector<std::byte>(file.begin(), file.end());
    return {};
  }
  Result<> append(const ActivityBatch& batch) override {
    if (disk_.refuses_writes) return fail(ErrorKind::io, "no space");
    ++disk_.appended;
    disk_.on_append();
    std::ranges::copy(batch.bytes, disk_.file->begin() + static_cast<std::ptrdiff_t>(batch.at));
    return {};
  }
  Result<> remove() override {
    if (disk_.refuses_removal) return fail(ErrorKind::io, "read-only");
    disk_.file.reset();
    return {};
  }

 private:
  LogDisk& disk_;
};

std::unique_ptr<ActivityLog> log_on(LogDisk& disk,
                                    ImageIdentity image = {big_disk_bytes, 7, 8, 9}) {
  auto log = std::make_unique<ActivityLog>(
      "pg", std::make_unique<LogDiskStore>(disk),
      ActivityLog::Images{[image] { return Result<std::vector<ImageIdentity>>{{image}}; },
                          [&disk] {
                            ++disk.flushed;
                            return std::error_code{};
                          }});
  REQUIRE(log->open());
  return log;
}

std::error_code write_to(ActivityLog& log, std::uint64_t extent) {
  return ActivityLog::Write{&log, 0, extent * limits::activity_extent_bytes, 512}.error();
}

}  // namespace

TEST_CASE("an activity log's file says what was written to it, and no more than was whole") {
  const auto file = file_with_batches();
  const auto whole = decode_activity(file);
  REQUIRE(whole);
  CHECK(whole->pair == some_pair);
  CHECK(whole->images == record_of({}).images);
  CHECK(whole->marked == Extents{{0, 1}, {0, 5}, {0, 9}, {0, 64}, {1, 0}});
  CHECK_FALSE(whole->clean);

  // The last batch may be torn, at any byte of it.
  for (std::size_t i = 0; i < log_record_bytes; ++i) {
    auto torn = file;
    torn[log_head_bytes + 4 * log_record_bytes + i] ^= std::byte{0x40};
    const auto rest = decode_activity(torn);
    REQUIRE(rest);
    CHECK(rest->marked == Extents{{0, 1}, {0, 5}, {0, 64}, {1, 0}});
  }
  // Damage in front of it is none that a power loss could do.
  for (std::size_t i = 0; i < log_head_bytes + 4 * log_record_bytes; ++i) {
    auto damaged = file;
    damaged[i] ^= std::byte{0x40};
    REQUIRE_FALSE(decode_activity(damaged));
  }
  CHECK_FALSE(decode_activity(std::span{file}.first(log_head_bytes + log_record_bytes)));
  CHECK_FALSE(decode_activity({}));
}

TEST_CASE("a file with an extent beyond its disk, or a record of another file, is damaged") {
  CHECK_FALSE(decode_activity(ActivityImage{record_of({{1, 1}})}.bytes));
  CHECK_FALSE(decode_activity(ActivityImage{record_of({{2, 0}})}.bytes));
  auto file = file_with_batches();
  auto other = record_of({{0, 1}, {0, 5}});
  other.pair.low = 5;
  const auto stranger = ActivityImage{other}.bytes;
  std::copy_n(stranger.begin() + log_head_bytes, log_record_bytes, file.begin() + log_head_bytes);
  CHECK_FALSE(decode_activity(file));
}

TEST_CASE("noise in place of a log's file is damage, or names extents of its disks") {
  Random random{fuzz_seed()};
  for (int i = 0; i < 3000; ++i) {
    auto file = file_with_batches();
    for (auto changes = pick(random, 4); changes > 0; --changes)
      file[pick(random, file.size())] = static_cast<std::byte>(random());
    file.resize(pick(random, 3) == 0 ? pick(random, file.size()) : file.size());
    const auto record = decode_activity(file);
    if (!record) continue;
    CHECK(record->images.size() == 2);
    for (const auto& one : record->marked)
      CHECK(one.index < extents_in(record->images.at(one.disk).bytes));
  }
}

TEST_CASE("extents travel as a bitmap, and come back as runs of chunks") {
  const Extents marked{{0, 0}, {0, 1}, {0, 9}, {0, 64}, {1, 3}};
  const auto bitmap = bitmap_of(marked, 0, 0, 100);
  CHECK(bitmap.size() == 9);
  Extents back;
  REQUIRE(add_bitmap(bitmap, 0, 0, big_disk_bytes, back));
  CHECK(back == Extents{{0, 0}, {0, 1}, {0, 9}, {0, 64}});
  CHECK_FALSE(add_bitmap(bitmap, 0, 0, big_disk_bytes - 512, back));
  // In pieces.
  back.clear();
  for (std::uint64_t first = 0; first < 65; first += 8)
    REQUIRE(add_bitmap(bitmap_of(marked, 0, first, 1), 0, first, big_disk_bytes, back));
  CHECK(back == Extents{{0, 0}, {0, 1}, {0, 9}, {0, 64}});

  const auto chunks = 64 * 64 + 1;
  CHECK(chunk_runs({{0, 9}, {0, 1}, {1, 3}, {0, 0}, {0, 1}, {0, 64}}, 0, chunks) ==
        std::vector<ChunkRun>{{0, 128}, {576, 64}, {4096, 1}});
  CHECK(chunk_runs({}, 0, chunks).empty());
  CHECK(extents_in(big_disk_bytes) == 65);
  CHECK(extents_of(0, limits::activity_extent_bytes - 1, 2) == Extents{{0, 0}, {0, 1}});
  CHECK(extents_of(0, limits::activity_extent_bytes, 0).empty());
}

TEST_CASE("an extent in use is logged once; it leaves when it is safe on both hosts and cold") {
  LogDisk disk;
  auto log = log_on(disk);
  CHECK(log->known().pair.none());
  CHECK_FALSE(write_to(*log, 1));
  CHECK(disk.appended == 0);  // there is no id that it could make untrue

  auto known = log->begin_session(some_pair);
  CHECK(known.pair.none());
  CHECK_FALSE(write_to(*log, 2));
  log->clean(now());
  CHECK(log->known().pair.none());
  log->seal(Epoch{1});
  CHECK_FALSE(write_to(*log, 3));
  log->durable(PairId{9, 9}, Epoch{1});  // of another session
  log->clean(now());
  CHECK(log->known().pair.none());
  log->durable(some_pair, Epoch{1});
  log->clean(now());
  CHECK(disk.flushed == 1);
  CHECK(log->known().pair == some_pair);
  CHECK(log->known().marked == Extents{{0, 3}});

  for (int i = 0; i < 5; ++i) CHECK_FALSE(write_to(*log, 4));
  CHECK(disk.appended == 1);
  log->durable(some_pair, Epoch{2});
  log->clean(now() + limits::activity_cold / 2);
  CHECK(log->known().marked == Extents{{0, 3}, {0, 4}});
  log->seal(Epoch{2});
  CHECK_FALSE(write_to(*log, 5));
  log->clean(now() + 2 * limits::activity_cold);
  CHECK(log->known().marked == Extents{{0, 5}});
  CHECK(decode_activity(*disk.file)->marked == Extents{{0, 5}});
  CHECK_FALSE(write_to(*log, 4));
  CHECK(decode_activity(*disk.file)->marked == Extents{{0, 4}, {0, 5}});
}

TEST_CASE("a write that comes while a log gets its id waits until it is logged there") {
  LogDisk disk;
  auto log = log_on(disk);
  const bool first = GENERATE(true, false);
  if (!first) REQUIRE(log->adopt({5, 6}));
  static_cast<void>(log->begin_session(some_pair));
  log->seal(Epoch{1});
  log->durable(some_pair, Epoch{1});
  std::atomic<bool> wrote{};
  std::thread writer;
  disk.on_replace = [&] {
    writer = std::thread{[&] { wrote = !write_to(*log, 9); }};
    std::this_thread::sleep_for(milliseconds{50});  // time to do it wrong
    CHECK_FALSE(wrote);
  };
  log->clean(now());
  writer.join();
  CHECK(wrote);
  CHECK(decode_activity(*disk.file)->pair == some_pair);
  CHECK(decode_activity(*disk.file)->marked == Extents{{0, 9}});
}

TEST_CASE("nothing leaves the log without a backup, nor does what a failed write has left") {
  LogDisk disk;
  auto log = log_on(disk);
  REQUIRE(log->adopt(some_pair));
  CHECK_FALSE(write_to(*log, 1));
  log->clean(now() + 10 * limits::activity_cold);
  CHECK(log->known().marked == Extents{{0, 1}});

  const PairId next{5, 6};
  CHECK(log->begin_session(next).marked == Extents{{0, 1}});
  {
    ActivityLog::Write write{log.get(), 0, 0, 512};
    write.failed();
  }
  log->seal(Epoch{1});
  log->seal(Epoch{2});
  log->durable(next, Epoch{2});
  log->clean(now());
  CHECK(log->known().pair == next);
  CHECK(log->known().marked == Extents{{0, 0}});
}

TEST_CASE("a log that is full is written anew; one that cannot be written is removed") {
  LogDisk disk;
  auto log = log_on(disk, {1U << 30U, 7, 8, 9});
  REQUIRE(log->adopt(some_pair));
  const auto size = disk.file->size();
  for (std::uint64_t i = 0; i < 255; ++i) {
    for (int again = 0; again < 2; ++again) CHECK_FALSE(write_to(*log, i));
  }
  CHECK(disk.appended == 255);
  CHECK(disk.file->size() == size);
  CHECK(decode_activity(*disk.file)->marked.size() == 255);
  disk.refuses_writes = true;
  CHECK_FALSE(write_to(*log, 255));  // the guest goes on: the whole image will be compared
  CHECK_FALSE(disk.file);
  CHECK(log->known().pair.none());
  CHECK_THAT(log->known().why_none, Catch::Contains("no space"));
}

TEST_CASE("where a log that is not true can be neither written nor removed, writes are refused") {
  LogDisk disk;
  auto log = log_on(disk);
  REQUIRE(log->adopt(some_pair));
  disk.refuses_writes = true;
  disk.refuses_removal = true;
  CHECK(write_to(*log, 1));
  CHECK(write_to(*log, 1));
  CHECK_FALSE(log->forget("an operator says so"));
  disk.refuses_removal = false;
  CHECK_FALSE(write_to(*log, 1));
  CHECK_FALSE(disk.file);
}

TEST_CASE("a session in which the log was lost does not become a pair") {
  LogDisk disk;
  auto log = log_on(disk);
  REQUIRE(log->adopt(some_pair));
  static_cast<void>(log->begin_session({5, 6}));
  disk.refuses_writes = true;
  CHECK_FALSE(write_to(*log, 1));
  disk.refuses_writes = false;
  log->durable({5, 6}, Epoch{1});
  log->clean(now());
  CHECK_FALSE(disk.file);
}

TEST_CASE("an extent is in the log's file before its first write reaches the image") {
  const DiskDirectory directory;
  const auto disks = *GuestDisks::open(directory.guest(1, 8 * limits::activity_extent_bytes));
  auto& disk = disks->disk(0);
  LogDisk log_disk;
  auto log = log_on(log_disk, {disk.bytes(), 7, 8, 9});
  disk.log_activity(log.get());
  REQUIRE_FALSE(disk.write(2 * limits::activity_extent_bytes, random_bytes(1, 512)));
  const auto before = directory.contents(0);
  REQUIRE(log->adopt(some_pair));
  log_disk.on_append = [&] { CHECK(directory.contents(0) == before); };
  SECTION("data") {
    REQUIRE_FALSE(disk.write(limits::activity_extent_bytes, random_bytes(2, 512)));
    CHECK(decode_activity(*log_disk.file)->marked == Extents{{0, 1}});
    CHECK(directory.contents(0) != before);
  }
  SECTION("zeros") {
    REQUIRE_FALSE(disk.zero(2 * limits::activity_extent_bytes, 512, Hole::allowed));
    CHECK(decode_activity(*log_disk.file)->marked == Extents{{0, 2}});
    CHECK(directory.contents(0) != before);
  }
  SECTION("a repair, which changes the backup's") {
    REQUIRE_FALSE(disk.send_again(3 * 64));
    CHECK(decode_activity(*log_disk.file)->marked == Extents{{0, 3}});
  }
  SECTION("what a verification finds, and nobody repairs") {
    disk.doubt(3 * 64 + 63);
    CHECK(decode_activity(*log_disk.file)->marked == Extents{{0, 3}});
  }
  SECTION("not where it cannot be") {
    log_disk.refuses_writes = true;
    log_disk.refuses_removal = true;
    CHECK(disk.write(0, random_bytes(3, 512)));
    CHECK(disk.zero(2 * limits::activity_extent_bytes, 512, Hole::allowed));
    CHECK(directory.contents(0) == before);
  }
  CHECK(log_disk.appended == (log_disk.refuses_writes ? 0 : 1));
}

TEST_CASE("a log is kept over a restart, unless the images are not those that it speaks of") {
  LogDisk disk;
  const ImageIdentity image{big_disk_bytes, 7, 8, 9};
  auto log = log_on(disk, image);
  REQUIRE(log->adopt(some_pair));
  CHECK_FALSE(write_to(*log, 3));
  const bool clean = GENERATE(true, false);
  if (clean) log->close();
  log = nullptr;

  const auto what = GENERATE(as<std::string>{}, "same", "written", "size", "inode", "birth");
  CAPTURE(what, clean);
  auto now = image;
  if (what == "written") now.modified_ns = 10;
  if (what == "size") now.bytes -= 512;
  if (what == "inode") now.inode = 6;
  if (what == "birth") now.born_ns = 7;
  log = log_on(disk, now);
  // Without a clean end nobody knows when the last write was.
  const bool kept = what == "same" || (what == "written" && !clean);
  CHECK(log->known().pair == (kept ? some_pair : PairId{}));
  CHECK(log->known().marked == (kept ? Extents{{0, 3}} : Extents{}));
  CHECK(disk.file.has_value() == kept);
  if (!kept) return;
  CHECK_FALSE(decode_activity(*disk.file)->clean);
  CHECK_FALSE(write_to(*log, 3));
  CHECK_FALSE(write_to(*log, 4));
  CHECK(decode_activity(*disk.file)->marked == Extents{{0, 3}, {0, 4}});
}

TEST_CASE("an activity log's file is on the disk, where a directory is made for it") {
  const DiskDirectory directory;
  const auto path = directory.path() + "/disks/pg.log";
  ActivityFile file{path};
  REQUIRE(file.load());
  CHECK_FALSE(*file.load());
  REQUIRE(file.remove());
  ActivityImage image{record_of({{0, 1}})};
  REQUIRE(file.replace(image.bytes));
  REQUIRE(file.append(image.tail.marks(Extents{{0, 2}})));
  CHECK(decode_activity(**ActivityFile{path}.load())->marked == Extents{{0, 1}, {0, 2}});
  std::filesystem::resize_file(path, activity_file_bytes_max() + 1);
  CHECK_FALSE(file.load());
  REQUIRE(file.remove());
  CHECK_FALSE(*file.load());
}

TEST_CASE("images are told apart when another one was put in their place, or was written to") {
  const DiskDirectory directory;
  const auto guest = directory.guest(1);
  const auto path = directory.path() + "/disks/pg.log";
  const auto reopened = [&] {
    auto disks = *GuestDisks::open(guest);
    REQUIRE(disks->log_activity("pg", path));
    return disks->activity()->known();
  };
  {
    const auto disks = *GuestDisks::open(guest);
    REQUIRE(disks->log_activity("pg", path));
    REQUIRE(disks->activity()->adopt(some_pair));
    REQUIRE_FALSE(disks->disk(0).write(0, random_bytes(1, 512)));
  }
  CHECK(reopened().pair == some_pair);
  const auto known = reopened();
  CHECK(known.marked == Extents{{0, 0}});
  const bool written = GENERATE(true, false);
  if (written) {
    std::ofstream{directory.image(0), std::ios::in | std::ios::binary} << "by hand";
  } else {
    std::filesystem::copy_file(directory.image(0), directory.image(9));
    std::filesystem::rename(directory.image(9), directory.image(0));
  }
  CHECK(reopened().pair.none());
  CHECK_FALSE(std::filesystem::exists(path));
}
