// A replica's past: every epoch can be gone back to, thinned out or not, and what cannot be kept is
// said.
#include <algorithm>
#include <map>

#include <catch2/catch.hpp>

#include "checkpointer/capture.hpp"
#include "checkpointer/disk_undo.hpp"
#include "checkpointer/history.hpp"
#include "checkpointer/replica.hpp"
#include "config/limits.hpp"
#include "disk_world.hpp"
#include "memory.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t plenty = 64U << 20U;

UnixTime unix_at(double s) {
  return UnixTime{microseconds{static_cast<std::int64_t>(s * 1e6)}};
}

HistoryPoint point(std::uint64_t epoch, UnixTime when = unix_now()) {
  return {Epoch{epoch}, when, 1, {}};
}

/// An image that changes epoch by epoch, what it was, and the history of it.
struct World {
  explicit World(std::uint64_t bytes = plenty)
      : history{
            *History::create("pg", directory.path().string(), {std::chrono::hours{1000}, bytes})} {}

  /// One epoch, some of whose pages are sent twice.
  void epoch(UnixTime when = unix_now()) {
    Bytes now = image;
    UndoRecords undo;
    for (int turn = 0; turn < 3; ++turn) {
      const auto page = pick(random, now.size() / page_bytes);
      const auto place = std::span{now}.subspan(page * page_bytes, page_bytes);
      scribble(random, place);
      Bytes room(record_bytes_max);
      auto shadow = Bytes(view().page(page), view().page(page) + page_bytes);
      room.resize(encode_page(PageIndex{page}, ConstPage{place.data(), page_bytes},
                              Page{shadow.data(), page_bytes}, room));
      append_undo(room, view(), undo);
      apply_records(room, view(), [](std::uint64_t) {});
    }
    CHECK(image == now);
    const auto number = were.size() + 1;
    were.push_back(image);
    if (number > 1) history->changed(last, point(number, when), std::move(undo));
    last = point(number, when);
  }
  [[nodiscard]] ImageView view() { return {image, {}}; }
  [[nodiscard]] std::uint64_t newest() const { return were.size(); }
  /// The image as it was, or why not.
  [[nodiscard]] Result<Bytes> back(std::uint64_t to) {
    UNDERSTUDY_TRY(const auto pin, history->find(Epoch{to}));
    const auto now_pin = history->pin(Epoch{newest()});
    UNDERSTUDY_TRY(const auto path, history->path(Epoch{newest()}, pin.epoch()));
    CHECK(path.to.epoch == Epoch{to});
    Bytes past = image;
    for (const auto& piece : path.memory) {
      UNDERSTUDY_TRY(const auto records, piece->read());
      UNDERSTUDY_CHECK(check_records(records, past.size() / page_bytes));
      apply_records(records, {past, {}}, [](std::uint64_t) {});
    }
    return past;
  }
  /// Until all is thinned out.
  void wait_for_points(std::uint64_t wanted) {
    REQUIRE(history->find(Epoch{newest()}));  // all is taken in: points only go from here on
    for (int i = 0; i < 1000 && points() != wanted; ++i)
      std::this_thread::sleep_for(milliseconds{10});
    REQUIRE(points() == wanted);
  }
  [[nodiscard]] std::uint64_t points() const {
    std::uint64_t count = 0;
    for (const auto& band : history->report(unix_now()).bands) count += band.points;
    return count;
  }

  TemporaryDirectory directory;
  Random random{Catch::rngSeed()};
  Bytes image = Bytes(6 * page_bytes);
  std::vector<Bytes> were;
  HistoryPoint last;
  std::shared_ptr<History> history;
};

}  // namespace

TEST_CASE("every epoch of a history can be gone back to") {
  World world;
  for (int i = 0; i < 60; ++i) world.epoch();
  for (std::uint64_t to = 1; to <= world.newest(); ++to) {
    const auto past = world.back(to);
    REQUIRE(past);
    CHECK(*past == world.were[to - 1]);
  }
  CHECK_FALSE(world.back(world.newest() + 1));
  CHECK(world.history->find(unix_at(0)).error().kind == ErrorKind::unavailable);
}

TEST_CASE("a history is thinned out with age, and what is left is what it was") {
  World world;
  const auto now = std::chrono::floor<std::chrono::minutes>(unix_now());
  // Four in a minute long ago, four in a second some time ago, four now.
  for (int i = 0; i < 4; ++i) world.epoch(now - std::chrono::hours{1} + seconds{10 * i});
  for (int i = 0; i < 4; ++i) world.epoch(now - std::chrono::minutes{5} + milliseconds{200 * i});
  for (int i = 0; i < 4; ++i) world.epoch();
  world.wait_for_points(6);
  for (const std::uint64_t to : {1, 5, 9, 10, 11, 12}) {
    const auto past = world.back(to);
    REQUIRE(past);
    CHECK(*past == world.were[to - 1]);
  }
  CHECK(world.back(3).error().message.find("the nearest ones are 1 and 5") != std::string::npos);
  const auto found = world.history->find(now - std::chrono::minutes{30});
  REQUIRE(found);
  CHECK(found->epoch() == Epoch{1});
}

TEST_CASE("a pinned point is not merged with others") {
  World world;
  const auto pin = world.history->pin(Epoch{3});
  const auto old = std::chrono::floor<std::chrono::minutes>(unix_now()) - std::chrono::hours{1};
  for (int i = 0; i < 6; ++i) world.epoch(old + seconds{i});
  world.wait_for_points(3);
  const auto past = world.back(3);
  REQUIRE(past);
  CHECK(*past == world.were[2]);
}

TEST_CASE("the oldest goes when a history is too large") {
  constexpr std::uint64_t few = 64U << 10U;
  World world{few};
  for (int i = 0; i < 200; ++i) world.epoch();
  REQUIRE(world.back(world.newest()));
  const auto report = world.history->report(unix_now());
  std::uint64_t bytes = 0;
  for (const auto& band : report.bands) bytes += band.bytes;
  CHECK(bytes <= few);
  REQUIRE(report.oldest);
  CHECK(report.oldest->epoch > Epoch{1});
  CHECK(world.back(report.oldest->epoch.value()));
  CHECK_FALSE(world.back(1));
}

TEST_CASE("a history that is lost begins anew, and says so") {
  World world;
  for (int i = 0; i < 5; ++i) world.epoch();
  world.history->lose("of a test");
  CHECK_FALSE(world.back(3));
  for (int i = 0; i < 5; ++i) world.epoch();
  CHECK_FALSE(world.back(3));
  const auto past = world.back(7);
  REQUIRE(past);
  CHECK(*past == world.were[6]);
  CHECK(world.history->report(unix_now()).losses == 1);
  CHECK(world.history->report(unix_now()).loss == "of a test");
}

TEST_CASE("what a queue cannot hold is lost, and nobody waits for it") {
  World world;
  world.epoch();
  world.history->changed(point(1), point(2), UndoRecords(limits::history_queue_bytes + 1));
  CHECK(world.history->report(unix_now()).losses == 1);
}

TEST_CASE("a store gives back what was put, wherever there was room") {
  TemporaryDirectory directory;
  const auto store = *HistoryStore::create(directory.path().string());
  Random random{Catch::rngSeed()};
  std::map<int, std::pair<HistoryStore::PiecePointer, Bytes>> pieces;
  for (int i = 0; i < 300; ++i) {
    const auto contents = random_bytes(random(), pick(random, 20'000));
    pieces[static_cast<int>(pick(random, 20))] = {*store->put(contents), contents};
    for (const auto& [key, one] : pieces) CHECK(*one.first->read() == one.second);
  }
}

TEST_CASE("a point's slot is thinned when all of it is old") {
  const auto none = [](std::size_t) { return false; };
  const auto plan = [&](std::vector<UnixTime> points, double now) {
    std::vector<std::pair<std::size_t, std::size_t>> runs;
    for (const auto& run : plan_thinning(points, unix_at(now), none))
      runs.emplace_back(run.first, run.count);
    return runs;
  };
  using Runs = std::vector<std::pair<std::size_t, std::size_t>>;
  CHECK(plan({unix_at(100.1), unix_at(100.5), unix_at(100.9), unix_at(101)}, 110.9).empty());
  CHECK(plan({unix_at(100.1), unix_at(100.5), unix_at(100.9), unix_at(101)}, 111) == Runs{{0, 3}});
  CHECK(plan({unix_at(120), unix_at(121), unix_at(150), unix_at(180)}, 779).empty());
  CHECK(plan({unix_at(120), unix_at(121), unix_at(150), unix_at(180)}, 780) == Runs{{0, 3}});
  CHECK(plan_thinning({unix_at(0), unix_at(1), unix_at(2)}, unix_at(1000), [](std::size_t i) {
          return i == 1;
        }).size() == 1);
}

TEST_CASE("disks can be gone back on, over several epochs") {
  DiskDirectory directory;
  const auto disks = *GuestDisks::open(directory.guest(2));
  const DiskUndo undo{disks->sizes()};
  Random random{Catch::rngSeed()};
  std::vector<UndoRecords> steps;
  std::vector<std::string> were;
  const auto contents = [&] { return directory.contents(0) + directory.contents(1); };
  for (int epoch = 0; epoch < 20; ++epoch) {
    were.push_back(contents());
    auto& step = steps.emplace_back();
    for (int i = 0; i < 3; ++i) {
      const auto data = random_bytes(random(), 1 + pick(random, 20'000));
      const auto bytes = static_cast<std::uint32_t>(data.size());
      DiskRecord record{static_cast<std::uint16_t>(pick(random, 2)), DiskContents::data,
                        pick(random, small_disk_bytes - bytes + 1), bytes, data};
      if (pick(random, 4) == 0)
        record = {record.disk, DiskContents::zeros, record.offset, bytes, {}};
      auto& image = disks->disk(record.disk).image();
      REQUIRE_FALSE(undo.append(
          record,
          [&](std::uint64_t from, std::span<std::byte> out) { return image.read(from, out); },
          step));
      if (record.what == DiskContents::data) {
        REQUIRE_FALSE(image.write(record.offset, data));
      } else {
        REQUIRE_FALSE(image.zero(record.offset, bytes, Hole::allowed));
      }
    }
  }
  disks->set_mode(DiskMode::plain);
  const std::vector<BlockDevice*> devices{&disks->disk(0), &disks->disk(1)};
  // Ten at once, as thinning merges them, then one by one.
  const std::vector<std::span<const std::byte>> last{steps.begin() + 10, steps.end()};
  const auto merged = merge_undo(last);
  REQUIRE(check_records(merged, undo.blocks()));
  REQUIRE_FALSE(undo.apply(merged, devices));
  CHECK(contents() == were[10]);
  for (std::size_t i = 10; i-- > 0;) {
    const std::span<const std::byte> one{steps[i]};
    REQUIRE_FALSE(undo.apply(merge_undo({&one, 1}), devices));
    CHECK(contents() == were[i]);
  }
}

TEST_CASE("a replica's frozen epoch and its history lead to any earlier one, devices included") {
  TemporaryDirectory directory;
  const auto layout = small_layout();
  Bytes image(layout.bytes());
  const auto history =
      *History::create("pg", directory.path().string(), {std::chrono::hours{1}, plenty});
  const auto replica = *Replica::create(
      layout, image, [](const Error&) {}, [](Epoch) {}, nullptr, history);
  const auto commit = [&](std::uint64_t epoch, std::uint64_t device_bytes) {
    UndoRecords payload;
    for (const auto page : {std::uint64_t{2}, layout.pages(), layout.pages() + 1}) {
      Bytes contents(page_bytes, static_cast<std::byte>(epoch));
      Bytes room(record_bytes_max);
      room.resize(write_lines(PageIndex{page}, ~std::uint64_t{0},
                              ConstPage{contents.data(), page_bytes}, room));
      payload.insert(payload.end(), room.begin(), room.end());
    }
    replication::Seal seal;
    seal.set_device_bytes(device_bytes);
    for (const auto& block : layout.blocks()) seal.add_used_bytes(block.used_bytes);
    replication::StagedEpoch staged{Epoch{epoch}, {}, {}, seal};
    staged.payloads.emplace_back(payload);
    replica->on_commit(staged);
  };
  for (std::uint64_t epoch = 1; epoch <= 9; ++epoch) commit(epoch, 100 * (10 - epoch));
  Bytes copy(image.size());
  const auto ram = std::make_shared<RamSnapshot>(replica->ram(), RamSnapshot::into(copy));
  const auto frozen = replica->freeze(ram, nullptr);
  REQUIRE(frozen);
  commit(10, 100);
  while (ram->copy(1)) {
  }
  const auto path = history->path(frozen->epoch, Epoch{4});
  REQUIRE(path);
  CHECK(path->to.device_bytes == 600);
  const ImageView view{copy, frozen->device_area.bytes()};
  for (const auto& piece : path->memory) apply_records(*piece->read(), view, [](std::uint64_t) {});
  CHECK(copy[2 * page_bytes] == std::byte{4});
  CHECK(view.devices[0] == std::byte{4});
  CHECK(view.devices[page_bytes] == std::byte{4});
  CHECK(image[2 * page_bytes] == std::byte{10});
  replica->thaw(ram, nullptr);
}
