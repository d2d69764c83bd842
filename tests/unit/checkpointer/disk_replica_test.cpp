#include "checkpointer/disk_replica.hpp"

#include <catch2/catch.hpp>

#include "checkpointer/disk_digest.hpp"
#include "config/limits.hpp"
#include "disk_world.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Bytes = std::vector<std::byte>;

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

bool holds(const DiskDirectory& directory, int disk, std::size_t offset, const Bytes& data) {
  const auto image = directory.contents(disk);
  const auto bytes = std::as_bytes(std::span{image});
  return std::ranges::equal(bytes.subspan(offset, data.size()), data);
}

}  // namespace

TEST_CASE("synchronised contents and epochs reach the images, and they are then this host's own") {
  const DiskDirectory directory;
  const DiskState state{directory.path(), "pg"};
  const auto disks = *GuestDisks::open(directory.guest(2));
  const auto first = random_bytes(1, 5000);
  const auto second = random_bytes(2, 5000);
  {
    const auto replica = *DiskReplica::create(*disks, state);
    CHECK(state.load() == ImageState::incomplete);
    CHECK_FALSE(state.may_start());
    REQUIRE(replica->synchronise(data_record(1, 0, first)));
    const auto epoch = joined({data_record(0, 700, second), data_record(1, 100, second)});
    REQUIRE(replica->check(epoch));
    replica->commit({std::span{epoch}}, Epoch{1});
    REQUIRE(replica->finish());
  }
  CHECK(holds(directory, 0, 700, second));
  CHECK(holds(directory, 1, 0, {first.begin(), first.begin() + 100}));
  CHECK(holds(directory, 1, 100, second));
  CHECK(state.load() == ImageState::active);
  CHECK(state.may_start());
}

TEST_CASE("a backup that ends without a promotion leaves a replica that does not start by itself") {
  const DiskDirectory directory;
  const DiskState state{directory.path(), "pg"};
  const auto disks = *GuestDisks::open(directory.guest(1));
  {
    const auto replica = *DiskReplica::create(*disks, state);
    replica->commit({}, Epoch{1});
    REQUIRE(replica->wait_until_applied([] { return true; }));
  }
  CHECK(state.load() == ImageState::replica);
  CHECK_FALSE(state.may_start());
}

TEST_CASE("a backup that is stopped applies all that is committed") {
  const DiskDirectory directory;
  const DiskState state{directory.path(), "pg"};
  const auto disks = *GuestDisks::open(directory.guest(1, 16U << 20U));
  const auto data = random_bytes(1, 64U << 10U);
  {
    const auto replica = *DiskReplica::create(*disks, state);
    for (std::uint64_t i = 0; i < 256; ++i) {
      const auto epoch = data_record(0, i * data.size(), data);
      replica->commit({std::span{epoch}}, Epoch{1});
    }
  }
  Bytes all;
  for (std::uint64_t i = 0; i < 256; ++i) all.insert(all.end(), data.begin(), data.end());
  REQUIRE(holds(directory, 0, 0, all));
  CHECK(state.load() == ImageState::replica);
  CHECK(disks->waiting_bytes() == 0);
  CHECK_FALSE(*DiskJournal::open(state.journal_path())->load());
}

TEST_CASE("a backup that is stopped before its first epoch has no whole images") {
  const DiskDirectory directory;
  const DiskState state{directory.path(), "pg"};
  const auto disks = *GuestDisks::open(directory.guest(1));
  const auto data = data_record(0, 0, random_bytes(1, 4096));
  REQUIRE((*DiskReplica::create(*disks, state))->synchronise(data));
  CHECK(state.load() == ImageState::incomplete);
}

TEST_CASE("a crash while an epoch is applied is mended; a torn journal is ignored") {
  const DiskDirectory directory;
  const DiskState state{directory.path(), "pg"};
  const auto disks = *GuestDisks::open(directory.guest(1));
  const auto data = random_bytes(1, 4096);
  const auto records = data_record(0, 8192, data);
  const std::span<const std::byte> part{records};
  std::filesystem::create_directories(directory.path() + "/disks");
  REQUIRE(DiskJournal::open(state.journal_path())->write({&part, 1}));
  REQUIRE(recover_images(*disks, state));
  CHECK(holds(directory, 0, 8192, data));
  CHECK(std::filesystem::file_size(state.journal_path()) == 0);

  const auto other = data_record(0, 0, data);
  const std::span<const std::byte> torn{other};
  REQUIRE(DiskJournal::open(state.journal_path())->write({&torn, 1}));
  const auto size = std::filesystem::file_size(state.journal_path());
  const auto byte = GENERATE(0, 8, 20, 40, 3000);
  std::fstream file{state.journal_path(), std::ios::in | std::ios::out | std::ios::binary};
  file.seekp(byte);
  file.put('\xaa');
  file.close();
  if (byte == 3000) std::filesystem::resize_file(state.journal_path(), size - 1);
  REQUIRE(recover_images(*disks, state));
  CHECK(holds(directory, 0, 0, Bytes(4096)));
}

TEST_CASE("an image that became shorter is an error, and not zeros") {
  const DiskDirectory directory;
  const DiskState state{directory.path(), "pg"};
  const auto disks = *GuestDisks::open(directory.guest(1));
  const auto replica = *DiskReplica::create(*disks, state);
  std::filesystem::resize_file(directory.image(0), 0);
  replication::DiskDigestRequest request;
  request.set_chunks(1);
  CHECK_FALSE(replica->digest_chunks(request));
}

TEST_CASE("digests are refused beyond a disk, and tell chunks apart") {
  const DiskDirectory directory;
  const DiskState state{directory.path(), "pg"};
  const auto disks = *GuestDisks::open(directory.guest(1));
  const auto replica = *DiskReplica::create(*disks, state);
  replication::DiskDigestRequest request;
  request.set_chunks(disks->disk(0).chunks());
  const auto before = replica->digest_chunks(request);
  REQUIRE(before);
  REQUIRE_FALSE(disks->disk(0).image().write(70'000, random_bytes(1, 10)));
  const auto after = replica->digest_chunks(request);
  CHECK((*before)[0] == (*after)[0]);
  CHECK((*before)[1] != (*after)[1]);
  request.set_first_chunk(1);
  CHECK_FALSE(replica->digest_chunks(request));
  request.set_disk(1);
  CHECK_FALSE(replica->digest_chunks(request));
}

TEST_CASE("images that are not raw, not whole, in use or not there are refused") {
  const DiskDirectory directory;
  const auto guest = directory.guest(1);
  {
    const auto disks = GuestDisks::open(guest);
    REQUIRE(disks);
    const auto again = GuestDisks::open(guest);
    REQUIRE_FALSE(again);
    CHECK_THAT(again.error().message, Catch::Contains("in use"));
  }
  std::filesystem::resize_file(directory.image(0), 1000);
  CHECK_FALSE(GuestDisks::open(guest));
  std::ofstream{directory.image(0), std::ios::binary} << "QFI\xfb" << std::string(508, '\0');
  const auto qcow2 = GuestDisks::open(guest);
  REQUIRE_FALSE(qcow2);
  CHECK_THAT(qcow2.error().message, Catch::Contains("qemu-img convert"));
  std::filesystem::remove(directory.image(0));
  CHECK_FALSE(GuestDisks::open(guest));
}

TEST_CASE(
    "an error is told of; where the guest stands still for it, only until the request succeeds") {
  const DiskDirectory directory;
  auto guest = directory.guest(1);
  const auto policy = GENERATE(config::REPORT, config::STOP, config::ENOSPACE);
  guest.mutable_disk(0)->set_on_error(policy);
  const auto disks = *GuestDisks::open(guest);
  Bytes out(512);
  std::filesystem::resize_file(directory.image(0), 0);
  CHECK(disks->disk(0).read(0, out));
  CHECK_THAT(disks->complaints(), Catch::Contains("read failed"));
  const bool stops = disks->complaints().find("stands still") != std::string::npos;
  CHECK(stops == (policy == config::STOP));
  REQUIRE_FALSE(disks->disk(0).write(0, random_bytes(1, 512)));  // of another request
  CHECK_FALSE(disks->complaints().empty());
  REQUIRE_FALSE(disks->disk(0).read(0, out));
  CHECK(disks->complaints().empty() == stops);
}

TEST_CASE("writes go to the image and, while logged, into the epoch; a standby's are refused") {
  const DiskDirectory directory;
  const auto disks = *GuestDisks::open(directory.guest(1));
  auto& disk = disks->disk(0);
  const auto data = random_bytes(1, 512);
  disks->set_mode(DiskMode::standby);
  CHECK(disk.write(0, data));
  disks->set_mode(DiskMode::tracking);
  REQUIRE_FALSE(disk.write(65'000, random_bytes(2, 1024)));  // across two chunks
  CHECK(disk.take_marked() == std::vector<std::uint64_t>{0, 1});
  REQUIRE_FALSE(disk.zero(200'000, 10, Hole::allowed));
  CHECK(disk.begin_logging() == std::vector<std::uint64_t>{3});
  REQUIRE_FALSE(disk.write(512, data));
  REQUIRE_FALSE(disk.zero(0, 512, Hole::forbidden));
  const auto epoch = disks->log().cut();
  REQUIRE(epoch);
  REQUIRE(epoch->size() == 2);
  CHECK((*epoch)[0].offset == 512);
  CHECK((*epoch)[0].data == data);
  CHECK((*epoch)[1].what == DiskContents::zeros);
  CHECK(disks->log().cut()->empty());
  CHECK(holds(directory, 0, 512, data));
}

TEST_CASE("an epoch that is full hastens its end, and is an error when nobody ends it") {
  WriteLog log;
  int hastened = 0;
  log.open([&] { ++hastened; });
  const auto write = [&](std::size_t bytes) {
    log.append({0, DiskContents::data, 0, static_cast<std::uint32_t>(bytes), Bytes(bytes)});
  };
  write(limits::disk_epoch_bytes_hasten / 2);
  CHECK(hastened == 0);
  write(limits::disk_epoch_bytes_hasten / 2);
  CHECK(hastened == 1);
  log.hurry(true);
  write(limits::disk_epoch_bytes_wait);
  log.wait_for_room();  // does not wait now
  for (int i = 0; i < 8; ++i) write(limits::disk_epoch_bytes_max / 8);
  CHECK_FALSE(log.cut());
  CHECK(log.cut());
}
