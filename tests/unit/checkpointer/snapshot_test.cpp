#include <algorithm>

#include <catch2/catch.hpp>

#include "checkpointer/clone_disk.hpp"
#include "checkpointer/ram_snapshot.hpp"
#include "config/limits.hpp"
#include "config/types.hpp"
#include "disk_world.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Bytes = std::vector<std::byte>;
constexpr std::size_t snapped_pages = 64;

void fill(Bytes& image, std::size_t page, std::byte with) {
  std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(page * page_bytes), page_bytes, with);
}

struct Disks {
  DiskDirectory directory;
  std::unique_ptr<GuestDisks> disks = *GuestDisks::open(directory.guest(2));
  std::unique_ptr<DiskReplica> replica =
      *DiskReplica::create(*disks, DiskState{directory.path(), "pg"});
  std::uint64_t epoch{};
  std::shared_ptr<DiskSnapshot> snapshot =
      *DiskSnapshot::create(directory.path(), {small_disk_bytes, small_disk_bytes});

  void commit(std::uint64_t offset, const Bytes& data) {
    const auto record = data_record(1, offset, data);
    replica->commit({std::span{record}}, Epoch{++epoch});
  }
  void applied() {
    REQUIRE(replica->wait_until_applied([] { return true; }));
  }
  [[nodiscard]] Bytes frozen(std::uint64_t offset, std::size_t bytes) {
    REQUIRE(snapshot->wait_until_settled(std::chrono::seconds{10}));
    Bytes out(bytes);
    REQUIRE_FALSE(snapshot->read(1, offset, out));
    return out;
  }
};

}  // namespace

TEST_CASE("a snapshot has the moment's pages, whoever comes first to each") {
  Bytes image(snapped_pages * page_bytes);
  Bytes target(snapped_pages * page_bytes);
  std::vector<bool> used(snapped_pages);
  for (std::size_t page = 0; page < snapped_pages; page += 2) {
    fill(image, page, std::byte{7});
    used[page] = true;
  }
  const auto moment = image;
  RamSnapshot snapshot{image, RamSnapshot::into(target)};
  snapshot.begin(used);
  CHECK(snapshot.copy(5));
  for (std::size_t page = 0; page < snapped_pages; ++page) {
    snapshot.preserve(page);
    fill(image, page, std::byte{9});
    snapshot.preserve(page);  // changed again: the first one counts
  }
  while (snapshot.copy(5)) {
  }
  CHECK(snapshot.complete());
  CHECK(snapshot.fraction() == 1);
  CHECK(target == moment);
}

TEST_CASE("a detached snapshot looks at its source no more") {
  Bytes image(snapped_pages * page_bytes, std::byte{1});
  Bytes target(snapped_pages * page_bytes);
  RamSnapshot snapshot{image, RamSnapshot::into(target)};
  snapshot.begin(std::vector<bool>(snapped_pages, true));
  CHECK(snapshot.copy(1));
  snapshot.detach();
  CHECK_FALSE(snapshot.copy(1));
  CHECK_FALSE(snapshot.complete());
  CHECK(target[page_bytes] == std::byte{0});
}

TEST_CASE("disks are frozen with what is committed and not yet applied, and nothing later") {
  Disks world;
  const auto before = random_bytes(1, 100'000);
  const auto later = random_bytes(2, 100'000);
  world.commit(70'000, before);
  world.replica->freeze(world.snapshot);
  world.commit(70'000, later);
  world.commit(250'000, random_bytes(3, 50'032));
  world.applied();
  CHECK(world.frozen(70'000, before.size()) == before);
  CHECK(world.frozen(250'000, 50'032) == Bytes(50'032));
  CHECK(world.frozen(0, 70'000) == Bytes(70'000));
}

TEST_CASE("a clone's writes are its own") {
  Disks world;
  const auto below = random_bytes(1, 200'000);
  world.commit(0, below);
  world.replica->freeze(world.snapshot);
  REQUIRE(world.snapshot->wait_until_settled(std::chrono::seconds{10}));
  CloneDisk disk{world.snapshot, 1, *ChunkStore::create(world.directory.path(), small_disk_bytes)};
  const auto own = random_bytes(2, 100'000);
  auto expected = below;
  std::ranges::copy(own, expected.begin() + 40'000);
  std::fill_n(expected.begin() + 1000, 500, std::byte{0});
  REQUIRE_FALSE(disk.write(40'000, own));
  REQUIRE_FALSE(disk.zero(1000, 500, Hole::allowed));
  Bytes seen(below.size());
  REQUIRE_FALSE(disk.read(0, seen));
  CHECK(seen == expected);
  CHECK(world.frozen(0, below.size()) == below);
  world.applied();
  Bytes image(below.size());
  REQUIRE_FALSE(world.disks->disk(1).image().read(0, image));
  CHECK(image == below);
}

TEST_CASE("holes are those of the snapshot's epoch, whatever the replica writes there later") {
  Disks world;
  const auto data = random_bytes(1, 1000);
  world.commit(70'000, data);
  world.replica->freeze(world.snapshot);
  REQUIRE(world.snapshot->wait_until_settled(std::chrono::seconds{10}));
  CloneDisk disk{world.snapshot, 1, *ChunkStore::create(world.directory.path(), small_disk_bytes)};
  const auto first = disk.next_data(0);
  CHECK(first >= 65'536);
  CHECK(first <= 70'000);
  CHECK(disk.next_data(131'072) == small_disk_bytes);
  world.commit(200'000, data);
  world.applied();
  CHECK(disk.next_data(131'072) == 196'608);  // kept as it was
  CHECK(world.frozen(196'608, 65'536) == Bytes(65'536));
  REQUIRE_FALSE(disk.write(140'000, data));
  CHECK(disk.next_data(131'072) == 131'072);
  CHECK(disk.next_data(262'144) == small_disk_bytes);
}

TEST_CASE("a snapshot whose replica takes the images back says so") {
  Disks world;
  world.replica->freeze(world.snapshot);
  REQUIRE(world.snapshot->wait_until_settled(std::chrono::seconds{10}));
  REQUIRE(world.replica->finish());
  Bytes out(10);
  CHECK(world.snapshot->read(1, 0, out));
  CHECK_FALSE(world.snapshot->broken().empty());
}

TEST_CASE("temporary files have no name") {
  Disks world;
  const auto count = std::distance(std::filesystem::directory_iterator{world.directory.path()}, {});
  const auto store = ChunkStore::create(world.directory.path(), small_disk_bytes);
  REQUIRE(store);
  CHECK(std::distance(std::filesystem::directory_iterator{world.directory.path()}, {}) == count);
}
