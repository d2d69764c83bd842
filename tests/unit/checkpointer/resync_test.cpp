// Synchronisations of the same two hosts, one after the other: what the second one reads.
#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "world.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

constexpr std::uint64_t resync_extent = limits::activity_extent_bytes;
constexpr std::uint64_t resync_disk_bytes = 24 * resync_extent;  // 1536 chunks

std::string log_path(const DiskDirectory& host) {
  return host.path() + "/disks/pg.log";
}

/// Two hosts whose disks are remembered.
struct Remembered : DiskPair {
  Remembered() : DiskPair{1, resync_disk_bytes} {
    REQUIRE(active->log_activity("pg", log_path(here)));
    REQUIRE(standby->log_activity("pg", log_path(there)));
  }
  void write_here(std::uint64_t at, std::uint64_t seed) const {
    REQUIRE_FALSE(active->disk(0).write(at, random_bytes(seed, 4096)));
  }
  /// As the backup would if it had been promoted.
  void write_there(std::uint64_t at, std::uint64_t seed) const {
    standby->set_mode(DiskMode::plain);
    REQUIRE_FALSE(standby->disk(0).write(at, random_bytes(seed, 4096)));
    standby->set_mode(DiskMode::standby);
  }
  [[nodiscard]] bool paired() const {
    const auto ours = active->activity()->known().pair;
    return !ours.none() && ours == standby->activity()->known().pair;
  }
  [[nodiscard]] bool equal() const { return here.contents(0) == there.contents(0); }
};

/// A session with those disks; how many questions about them it took until the first epoch.
int questions_until_epochs(World& world) {
  REQUIRE(world.protect());
  return world.backup.replica().asked_of_disks();
}

/// Until what the backup has is on its disk, and both hosts remember the same.
bool become_a_pair(World& world, const Remembered& disks) {
  const auto before = disks.active->activity()->known().pair;
  return world.run_until(
      [&] { return disks.paired() && disks.active->activity()->known().pair != before; });
}

void end_session(World& world) {
  REQUIRE(world.settle());
  REQUIRE(world.primary->end("over"));
  world.backup.stop();
  REQUIRE(world.backup.finish_disks());
}

constexpr int questions_of_all = 1 + 6;  // a map, and 256 chunks in a question
constexpr auto resync_pace = World::Pace{4, 2};

}  // namespace

TEST_CASE("two hosts that were synchronised once compare only what either has written since") {
  Remembered disks;
  disks.write_here(3 * resync_extent, 1);
  {
    World world{1, resync_pace, 200, &disks};
    CHECK(questions_until_epochs(world) == questions_of_all);
    disks.write_here(5 * resync_extent + 512, 2);
    REQUIRE(become_a_pair(world, disks));
    disks.write_here(7 * resync_extent - 512, 3);  // across two extents
    end_session(world);
    CHECK(disks.equal());
  }
  disks.write_here(20 * resync_extent, 4);
  disks.write_there(11 * resync_extent, 5);
  disks.write_there(20 * resync_extent + 8192, 6);
  const auto ours = disks.active->activity()->known().marked;
  CHECK(std::ranges::find(ours, Extent{0, 20}) != ours.end());
  CHECK(ours.size() <= 4);  // 6 and 7, too; and 5, if it was written too late
  CHECK(disks.standby->activity()->known().marked == std::vector<Extent>{{0, 11}, {0, 20}});
  {
    World world{2, resync_pace, 200, &disks};
    CHECK(questions_until_epochs(world) <= 1 + 3);  // a map, and runs of chunks
    disks.write_here(1 * resync_extent, 7);
    end_session(world);
    CHECK(disks.equal());
  }
}

TEST_CASE("another synchronisation of either host makes the whole images be compared") {
  Remembered disks;
  {
    World world{1, resync_pace, 200, &disks};
    CHECK(questions_until_epochs(world) == questions_of_all);
    REQUIRE(become_a_pair(world, disks));
    end_session(world);
  }
  const bool theirs = GENERATE(true, false);
  auto& other = theirs ? *disks.standby : *disks.active;
  REQUIRE(other.activity()->adopt({1, 2}));
  disks.write_here(resync_extent, 1);
  World world{2, resync_pace, 200, &disks};
  CHECK(questions_until_epochs(world) == questions_of_all);
  end_session(world);
  CHECK(disks.equal());
  if (theirs) CHECK(disks.standby->activity()->known().pair != PairId{1, 2});
}

TEST_CASE("a synchronisation by map that ends in the middle can be repeated by map") {
  Remembered disks;
  {
    World world{1, resync_pace, 200, &disks};
    CHECK(questions_until_epochs(world) == questions_of_all);
    REQUIRE(become_a_pair(world, disks));
    end_session(world);
  }
  disks.write_here(2 * resync_extent, 1);
  {
    World world{2, resync_pace, 200, &disks};
    REQUIRE(world.open());
    world.cancel(true);
    CHECK_FALSE(world.primary->synchronise());
    world.cancel(false);
    REQUIRE(world.primary->end("over"));
  }
  CHECK(disks.paired());
  disks.write_there(4 * resync_extent, 2);
  World world{3, resync_pace, 200, &disks};
  CHECK(questions_until_epochs(world) <= 1 + 3);
  end_session(world);
  CHECK(disks.equal());
}

TEST_CASE("a backup that was written over without a map remembers nothing of before") {
  Remembered disks;
  REQUIRE(disks.standby->activity()->adopt({1, 2}));
  const DiskState state{disks.there.path(), "pg"};
  disks.standby->set_mode(DiskMode::standby);
  const auto replica = *DiskReplica::create(*disks.standby, state);
  const auto record = data_record(0, 0, random_bytes(1, 512));
  REQUIRE(replica->synchronise(record));
  replica->commit({}, Epoch{1});
  REQUIRE(replica->wait_until_applied([] { return true; }));
  CHECK(disks.standby->activity()->known().pair.none());
  CHECK_FALSE(std::filesystem::exists(log_path(disks.there)));
  CHECK_FALSE(replica->durable().paired());
}

TEST_CASE("what a backup says of its disks is durable, and a map only before they are written") {
  Remembered disks;
  disks.standby->set_mode(DiskMode::standby);
  const auto replica = *DiskReplica::create(*disks.standby, DiskState{disks.there.path(), "pg"});
  CHECK(replica->durable().epoch() == 0);
  replication::DiskMapRequest request;
  request.mutable_next()->set_low(7);
  const auto map = replica->map(request);
  REQUIRE(map);
  CHECK_THAT(map->unknown(), Catch::Contains("no synchronisation"));
  const auto record = data_record(0, 0, random_bytes(1, 512));
  replica->commit({record}, Epoch{1});
  replica->commit({record}, Epoch{2});
  REQUIRE(replica->wait_until_applied([] { return true; }));
  CHECK(replica->durable().epoch() == 2);
  CHECK(replica->durable().paired());
  CHECK(disks.standby->activity()->known().pair == PairId{0, 7});
  CHECK_FALSE(replica->map(request));
  request.set_disk(1);
  CHECK_FALSE(replica->map(request));
}
