// A replica goes back before it runs: memory, devices and disks to one epoch, and a crash in the
// middle leaves the disks at one, too.
#include <fstream>

#include <catch2/catch.hpp>

#include "checkpointer/capture.hpp"
#include "checkpointer/input_codec.hpp"
#include "checkpointer/rewind.hpp"
#include "config/limits.hpp"
#include "disk_world.hpp"
#include "memory.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Bytes = std::vector<std::byte>;

/// A replica with two disks and a history; each epoch writes its number all over.
struct RewindWorld {
  RewindWorld() {
    REQUIRE(disks->log_activity("pg", state.log_path()));
    auto disk_replica = DiskReplica::create(*disks, state, history);
    REQUIRE(disk_replica);
    auto made = Replica::create(
        layout, image, [](const Error&) {}, [](Epoch) {}, std::move(*disk_replica), history);
    REQUIRE(made);
    replica = *made;
  }

  void commit(std::uint64_t epoch) {
    const auto with = static_cast<std::byte>(epoch);
    UndoRecords pages;
    for (const auto page : {std::uint64_t{2}, epoch % 3, layout.pages(), layout.pages() + 1}) {
      const Bytes contents(page_bytes, with);
      Bytes room(record_bytes_max);
      room.resize(write_lines(PageIndex{page}, ~std::uint64_t{0},
                              ConstPage{contents.data(), page_bytes}, room));
      pages.insert(pages.end(), room.begin(), room.end());
    }
    const auto one = data_record(0, 100 * epoch, Bytes(9000, with));
    const auto other = data_record(1, small_disk_bytes - 700, Bytes(700, with));
    replication::Seal seal;
    seal.set_device_bytes(100 * epoch);
    for (const auto& block : layout.blocks()) seal.add_used_bytes(block.used_bytes);
    replication::StagedEpoch staged{Epoch{epoch}, {}, {}, seal};
    staged.payloads.emplace_back(pages);
    staged.disk_payloads.emplace_back(one);
    staged.disk_payloads.emplace_back(other);
    replica->on_commit(staged);
    memory.push_back(image);
  }
  void commit_all(std::uint64_t until) {
    for (std::uint64_t epoch = 1; epoch <= until; ++epoch) {
      commit(epoch);
      wait_for_disks(epoch);
      were.push_back(contents());
    }
    replica->on_end({ErrorKind::closed, "handed over"});
  }
  void wait_for_disks(std::uint64_t epoch) const {
    replication::Request request;
    request.mutable_disk_durable();
    const auto durable = [&] {
      return replica->on_request(request, [] { return true; }).disk_durable().epoch();
    };
    while (durable() < epoch) std::this_thread::sleep_for(milliseconds{1});
  }
  [[nodiscard]] std::string contents() const {
    return directory.contents(0) + directory.contents(1);
  }
  [[nodiscard]] WayBack way(std::uint64_t to) const {
    auto found = replica->find_way_back(Epoch{to});
    REQUIRE(found);
    return std::move(*found);
  }
  /// The daemon dies, and another one opens the images.
  void crash() {
    replica->abandon();
    replica.reset();
    disks.reset();
    disks = *GuestDisks::open(guest);
    REQUIRE(disks->log_activity("pg", state.log_path()));
    REQUIRE(recover_images(*disks, state));
  }

  DiskDirectory directory;
  DiskState state{directory.path(), "pg"};
  config::Guest guest{directory.guest(2)};
  std::unique_ptr<GuestDisks> disks{*GuestDisks::open(guest)};
  hypervisor::RamLayout layout{small_layout()};
  Bytes image = Bytes(layout.bytes());
  std::shared_ptr<History> history{
      *History::create("pg", directory.path(), {std::chrono::hours{1}, 64U << 20U})};
  std::shared_ptr<Replica> replica;
  std::vector<Bytes> memory;
  std::vector<std::string> were;
};

}  // namespace

TEST_CASE("a replica goes back to an epoch, with its devices and disks, and forgets its input") {
  RewindWorld world;
  world.commit_all(6);
  const std::vector<netbuffer::GivenFrame> frames{{0, Epoch{7}, Bytes(60)}};
  REQUIRE(world.replica->on_input(Epoch{7}, encode_input(frames).front()));
  const auto to = GENERATE(1, 3, 5);
  const auto way = world.way(static_cast<std::uint64_t>(to));
  CHECK(way.from.epoch == Epoch{6});
  REQUIRE(world.replica->log_way_back(way));
  CHECK(world.contents() == world.were.back());  // until then nothing has changed
  REQUIRE(world.replica->go_back(way));
  const auto index = static_cast<std::size_t>(to) - 1;
  CHECK(world.image == world.memory[index]);
  CHECK(world.contents() == world.were[index]);
  const auto devices = world.replica->devices();
  CHECK(devices.bytes.size() == 100U * static_cast<unsigned>(to));
  CHECK(devices.bytes.back() == static_cast<std::byte>(to));
  world.replica->give_input([](std::size_t, auto) { FAIL("it was given to what is no more"); });
  REQUIRE(world.replica->finish_disks());
  CHECK(world.state.load() == ImageState::active);
  CHECK(world.contents() == world.were[index]);
}

TEST_CASE("a crash while disks go back ends at one epoch: the newest, or the earlier one") {
  RewindWorld world;
  world.commit_all(6);
  const auto way = world.way(2);
  const auto journal = world.state.journal_path();
  SECTION("before the journal is whole") {
    REQUIRE(world.replica->log_way_back(way));
    std::filesystem::resize_file(journal, std::filesystem::file_size(journal) - 1);
    world.crash();
    CHECK(world.contents() == world.were[5]);
  }
  SECTION("when it is, and nothing has been written") {
    REQUIRE(world.replica->log_way_back(way));
    world.crash();
    CHECK(world.contents() == world.were[1]);
  }
  SECTION("in the middle of the images") {
    REQUIRE(world.replica->log_way_back(way));
    REQUIRE_FALSE(world.disks->disk(0).image().write(0, Bytes(2000, std::byte{99})));
    REQUIRE_FALSE(world.disks->disk(0).image().write(4096, Bytes(100, std::byte{2})));
    // What was torn lies where an epoch wrote, and so goes back.
    world.crash();
    CHECK(world.contents().substr(100) == world.were[1].substr(100));
  }
  SECTION("at the end") {
    REQUIRE(world.replica->log_way_back(way));
    REQUIRE(world.replica->go_back(way));
    world.crash();
    CHECK(world.contents() == world.were[1]);
  }
}

TEST_CASE("what goes back is in the log before the journal can repeat it") {
  RewindWorld world;
  auto* log = world.disks->activity();
  world.commit_all(3);
  REQUIRE(log->adopt(PairId{7, 8}));
  REQUIRE(log->known().marked.empty());
  const auto way = world.way(1);
  REQUIRE(world.replica->log_way_back(way));
  world.crash();
  const auto known = world.disks->activity()->known();
  CHECK(known.pair == PairId{7, 8});
  CHECK(known.marked == std::vector<Extent>{{0, 0}, {1, 0}});
}

// Before, disks did not go back over the epochs that came while the first one was being applied.
TEST_CASE("epochs that reach the disks together with the first one can be gone back over") {
  RewindWorld world;
  const auto synchronised = data_record(0, 0, Bytes(small_disk_bytes / 2, std::byte{77}));
  for (int i = 0; i < 200; ++i) REQUIRE(world.replica->on_sync_disk(synchronised));
  for (std::uint64_t epoch = 1; epoch <= 4; ++epoch) world.commit(epoch);
  world.wait_for_disks(4);
  world.replica->on_end({ErrorKind::closed, "handed over"});
  const auto way = world.way(2);
  REQUIRE(world.replica->log_way_back(way));
  REQUIRE(world.replica->go_back(way));
  const auto image = world.contents();
  CHECK(image[200] == 2);
  CHECK(image[200 + 8999] == 2);
  CHECK(image[200 + 9000] == 77);
  CHECK(image.back() == 2);
}

TEST_CASE("a way back that is not there leaves a replica as it is") {
  RewindWorld world;
  world.commit_all(4);
  CHECK_FALSE(world.replica->find_way_back(Epoch{9}));
  world.history->lose("of a test");
  CHECK_FALSE(world.replica->find_way_back(Epoch{2}));
  CHECK(world.image == world.memory.back());
  REQUIRE(world.replica->finish_disks());
  CHECK(world.contents() == world.were.back());
}

TEST_CASE("branches are found by the guest's whole name, the newest first") {
  const TemporaryDirectory directory;
  const auto path = directory.path().string();
  for (const auto* name : {"pg-20261128T131500Z-7.checkpoint", "pg-20261128T141500Z-9.checkpoint",
                           "pg-disk-20261128T131500Z-7.checkpoint", "pg-20261128T131500Z-7.new"})
    std::ofstream{path + "/" + name} << "x";
  const auto found = list_branches(path, "pg");
  REQUIRE(found.size() == 2);
  CHECK(found.front().path == path + "/pg-20261128T141500Z-9.checkpoint");
  CHECK(list_branches(path, "pg-disk").size() == 1);
  CHECK(list_branches(path + "/none", "pg").empty());
}
