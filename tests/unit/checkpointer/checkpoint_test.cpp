// Checkpoint files: what is written is what is read, and whatever else is in a file is refused.
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <utility>

#include <catch2/catch.hpp>

#include "checkpointer/clone_checkpoint.hpp"
#include "checkpointer/guest_import.hpp"
#include "config/limits.hpp"
#include "disk_world.hpp"
#include "memory.hpp"
#include "tests/fuzz/checkpoint_forge.hpp"
#include "tests/unit/fuzz_seed.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Contents = std::vector<std::byte>;

/// A guest of seeded contents: some pages and chunks are zeros.
class StillGuest final : public CheckpointSource {
 public:
  explicit StillGuest(std::uint64_t seed)
      : random_{seed}, devices_(random_bytes(seed, 3'000'000)), about_{forged_about(3'000'000)} {
    about_.set_epoch(41);
    for (const auto& block : about_.machine().ram_block())
      memory_.resize(memory_.size() + block.max_bytes());
    disk_.resize(about_.machine().disk_bytes(0));
    fill(memory_, page_bytes);
    fill(disk_, limits::disk_chunk_bytes);
  }
  [[nodiscard]] const Checkpoint& about() const override { return about_; }
  [[nodiscard]] std::span<const std::byte> devices() const override { return devices_; }
  [[nodiscard]] std::span<const std::byte> memory() const override { return memory_; }
  [[nodiscard]] std::error_code read_disk(std::size_t disk, std::uint64_t offset,
                                          std::span<std::byte> out) override {
    CHECK(disk == 0);
    ++reads_;
    std::copy_n(disk_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  [[nodiscard]] std::uint64_t next_data(std::size_t /*disk*/, std::uint64_t offset) override {
    const auto from = disk_.begin() + static_cast<std::ptrdiff_t>(offset);
    const auto found =
        std::find_if(from, disk_.end(), [](auto byte) { return byte != std::byte{}; });
    return static_cast<std::uint64_t>(found - disk_.begin());
  }
  [[nodiscard]] int reads() const { return reads_; }
  [[nodiscard]] const Contents& disk() const { return disk_; }

 private:
  /// Every third unit zeros, every third of one kind, the others noise.
  void fill(Contents& where, std::size_t unit) {
    for (std::size_t at = 0; at < where.size(); at += unit) {
      const auto size = std::min(unit, where.size() - at);
      const auto noise = random_bytes(random_(), size);
      const auto place = std::span{where}.subspan(at, size);
      if (at / unit % 3 == 1) std::ranges::fill(place, std::byte{7});
      if (at / unit % 3 == 2) std::ranges::copy(noise, place.begin());
    }
  }
  Random random_;
  Contents devices_;
  Contents memory_;
  Contents disk_;
  Checkpoint about_;
  int reads_{};
};

/// What a file's reader makes of it.
struct ReadGuest final : CheckpointSink {
  Result<> begin(const Checkpoint& what) override {
    about = what;
    for (const auto& block : what.machine().ram_block())
      memory.resize(memory.size() + block.max_bytes());
    disk_image.resize(what.machine().disk_bytes(0));
    return {};
  }
  Result<> devices(std::span<const std::byte> piece) override {
    state.insert(state.end(), piece.begin(), piece.end());
    return {};
  }
  Result<> page(PageIndex page, ConstPage contents) override {
    std::memcpy(memory.data() + page.value() * page_bytes, contents.data(), page_bytes);
    return {};
  }
  Result<> disk(std::size_t number, std::uint64_t offset,
                std::span<const std::byte> contents) override {
    CHECK(number == 0);
    std::memcpy(disk_image.data() + offset, contents.data(), contents.size());
    return {};
  }
  Checkpoint about;
  Contents state;
  Contents memory;
  Contents disk_image;
};

Contents file_of(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  const auto bytes = std::as_bytes(std::span{text});
  return {bytes.begin(), bytes.end()};
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file{path, std::ios::binary};
  for (const auto b : bytes) file.put(static_cast<char>(b));
}

/// A directory with the file of a guest in it.
struct Exported {
  Exported() : path{(directory.path() / "pg.ckpt").string()}, guest{Catch::rngSeed()} {
    const auto counts = write_checkpoint(guest, path, IfThere::refuse, {});
    REQUIRE(counts);
    CHECK(counts->pages == 9);  // of 14, a third of them zeros
    CHECK(counts->chunks == 3);
    CHECK(guest.reads() == 3);  // holes are not read
    CHECK(counts->bytes == std::filesystem::file_size(path));
  }
  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator{directory.path()}, {}));
  }
  /// Where each block begins, and the end of the file.
  [[nodiscard]] static std::vector<std::size_t> boundaries(const Contents& file) {
    std::vector<std::size_t> all{0};
    while (all.back() < file.size()) {
      all.push_back(all.back() + checkpoint_head_bytes +
                    replication::get<std::uint32_t>(file, all.back() + 12));
    }
    return all;
  }
  TemporaryDirectory directory;
  std::string path;
  StillGuest guest;
};

Result<> decode(std::span<const std::byte> bytes) {
  WatchfulSink sink;
  CheckpointDecoder decoder{sink};
  return decode_all(bytes, decoder);
}

std::string refusal(const Result<>& result) {
  return result ? "none" : result.error().message;
}

/// A file of blocks with right sums, about a guest with one byte of device state.
struct Forgery {
  explicit Forgery(const Checkpoint& about = forged_about(1)) {
    const auto text = about.SerializeAsString();
    add(CheckpointBlock::about, std::as_bytes(std::span{text}));
  }
  Forgery& add(CheckpointBlock kind, std::span<const std::byte> stored) {
    return add(forge_block(blocks, kind, stored));
  }
  Forgery& add(const Contents& block) {
    file.insert(file.end(), block.begin(), block.end());
    ++blocks;
    return *this;
  }
  Forgery& devices() { return add(CheckpointBlock::devices, Contents(1)); }
  Forgery& units(std::uint32_t area, const std::vector<std::uint64_t>& numbers, std::size_t bytes) {
    Contents contents(8 + 8 * numbers.size() + bytes);
    replication::put(contents, 0, area);
    replication::put(contents, 4, static_cast<std::uint32_t>(numbers.size()));
    for (std::size_t i = 0; i < numbers.size(); ++i)
      replication::put(contents, 8 + 8 * i, numbers[i]);
    return add(CheckpointBlock::units, contents);
  }
  Forgery& end(std::uint64_t pages) {
    Contents contents(32);
    replication::put(contents, 0, blocks);
    replication::put(contents, 8, pages);
    replication::put(contents, 24, std::uint64_t{file.size()});
    for (const char c : content_hash(file)) contents.push_back(static_cast<std::byte>(c));
    return add(CheckpointBlock::end, contents);
  }
  Contents file;
  std::uint64_t blocks{};
};

}  // namespace

TEST_CASE("a checkpoint file holds all of a guest, and only its owner may read it") {
  Exported world;
  ReadGuest read;
  const auto counts = read_checkpoint(world.path, read, {});
  REQUIRE(counts);
  CHECK(counts->pages == 9);
  CHECK(read.about.SerializeAsString() == world.guest.about().SerializeAsString());
  CHECK(std::ranges::equal(read.state, world.guest.devices()));
  CHECK(std::ranges::equal(read.memory, world.guest.memory()));
  CHECK(read.disk_image == world.guest.disk());
  struct stat about {};
  REQUIRE(::stat(world.path.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777U) == 0600U);
  CHECK(check_checkpoint(world.path, {})->epoch() == 41);
}

TEST_CASE("a file that is there is not replaced unasked, and nothing else is left") {
  Exported world;
  const auto before = file_of(world.path);
  StillGuest other{1};
  const auto refused = write_checkpoint(other, world.path, IfThere::refuse, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("--force") != std::string::npos);
  CheckpointProgress stopping;
  stopping.go_on = [] { return fail(ErrorKind::closed, "of a test"); };
  CHECK(write_checkpoint(other, world.path, IfThere::replace, stopping).error().message ==
        "of a test");
  CHECK(file_of(world.path) == before);
  CHECK(world.files() == 1);
  REQUIRE(write_checkpoint(other, world.path, IfThere::replace, {}));
  CHECK(file_of(world.path) != before);
  CHECK(world.files() == 1);
  const auto directory = world.directory.path().string();
  CHECK_FALSE(check_checkpoint_path(directory, IfThere::replace));
  const auto image = directory + "/pg.img";
  std::ofstream{image} << "what another guest has on its disk";
  CHECK_FALSE(check_checkpoint_path(image, IfThere::replace));
  CHECK_FALSE(check_checkpoint_path("pg.ckpt", IfThere::refuse));
  CHECK_FALSE(check_checkpoint_path(directory + "/none/pg.ckpt", IfThere::refuse));
}

TEST_CASE("a checkpoint file that is cut anywhere is refused") {
  Exported world;
  const auto file = file_of(world.path);
  const auto boundaries = Exported::boundaries(file);
  REQUIRE(boundaries.size() >= 7);
  REQUIRE(boundaries.back() == file.size());
  Random random{Catch::rngSeed()};
  std::vector<std::size_t> sizes;
  for (const auto at : boundaries) {
    for (const std::ptrdiff_t by : {-1, 0, 1, 12, 48}) {
      const auto size = static_cast<std::ptrdiff_t>(at) + by;
      if (size >= 0 && std::cmp_less(size, file.size()))
        sizes.push_back(static_cast<std::size_t>(size));
    }
  }
  for (int i = 0; i < 20; ++i) sizes.push_back(pick(random, file.size()));
  for (const auto size : sizes) {
    INFO("cut at " << size);
    CHECK(decode(std::span{file}.first(size)).error().kind == ErrorKind::closed);
  }
  write_file(world.path, std::span{file}.first(boundaries[3]));
  CHECK(refusal(check_checkpoint(world.path, {}).map([](const auto&) {})).find("cut off") !=
        std::string::npos);
  write_file(world.path, std::span{file}.first(0));
  CHECK_FALSE(check_checkpoint(world.path, {}));
  auto longer = file;
  longer.push_back({});
  write_file(world.path, longer);
  CHECK_FALSE(check_checkpoint(world.path, {}));
  CHECK_FALSE(check_checkpoint(world.directory.path().string(), {}));
}

TEST_CASE("a bit that is another one in a checkpoint file is noticed") {
  Exported world;
  auto file = file_of(world.path);
  Random random{Catch::rngSeed()};
  std::vector<std::size_t> places;
  for (const auto at : Exported::boundaries(file)) {
    for (std::size_t i = 0; i < 50 && at + i < file.size(); ++i) places.push_back(at + i);
  }
  for (int i = 0; i < 100; ++i) places.push_back(pick(random, file.size()));
  for (const auto at : places) {
    INFO("flipped at " << at);
    const auto bit = std::byte{1} << static_cast<int>(pick(random, 8));
    file[at] ^= bit;
    CHECK_FALSE(decode(file));
    file[at] ^= bit;
  }
  CHECK(decode(file));
}

TEST_CASE("blocks of a checkpoint file that are left out, repeated or moved are noticed") {
  Exported world;
  const auto file = file_of(world.path);
  const auto at = Exported::boundaries(file);
  const auto compose = [&](const std::vector<std::size_t>& order) {
    Contents made;
    for (const auto i : order) {
      made.insert(made.end(), file.begin() + static_cast<std::ptrdiff_t>(at[i]),
                  file.begin() + static_cast<std::ptrdiff_t>(at[i + 1]));
    }
    return made;
  };
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i + 1 < at.size(); ++i) order.push_back(i);
  CHECK(decode(compose(order)));
  for (std::size_t i = 0; i < order.size(); ++i) {
    auto without = order;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK_FALSE(decode(compose(without)));
    auto twice = order;
    twice.insert(twice.begin() + static_cast<std::ptrdiff_t>(i), i);
    if (i + 1 < order.size()) CHECK_FALSE(decode(compose(twice)));
  }
}

TEST_CASE("a hostile checkpoint file with right sums keeps within its guest") {
  CHECK(decode(Forgery{}.devices().units(0, {0, 13}, 2 * page_bytes).end(2).file));
  const auto page = [](const std::vector<std::uint64_t>& numbers, std::size_t bytes) {
    return decode(Forgery{}.devices().units(0, numbers, bytes).end(numbers.size()).file);
  };
  CHECK_FALSE(page({14}, page_bytes));
  CHECK_FALSE(page({~std::uint64_t{0}}, page_bytes));
  CHECK_FALSE(page({3, 3}, 2 * page_bytes));
  CHECK_FALSE(page({3, 2}, 2 * page_bytes));
  CHECK_FALSE(page({3}, page_bytes - 1));
  CHECK_FALSE(page({3}, page_bytes + 1));
  CHECK_FALSE(page({}, 0));
  CHECK_FALSE(decode(Forgery{}.devices().units(1, {5}, 1).end(0).file));
  CHECK_FALSE(decode(Forgery{}.devices().units(2, {0}, page_bytes).end(0).file));
  CHECK_FALSE(decode(Forgery{}.devices().units(0, {1}, page_bytes).units(0, {0}, page_bytes).file));
  CHECK_FALSE(decode(Forgery{}.end(0).file));
  CHECK_FALSE(decode(Forgery{}.units(0, {0}, page_bytes).file));
  CHECK_FALSE(decode(Forgery{}.devices().devices().file));
  CHECK_FALSE(decode(Forgery{}.devices().end(1).file));
  CHECK_FALSE(decode(Forgery{}.add(CheckpointBlock{9}, Contents(1)).file));

  const auto first = [](std::uint32_t kind, const Contents& stored, std::uint32_t contents) {
    return refusal(decode(forge_block(0, kind, stored, contents)));
  };
  CHECK(first(1, Contents(10), ~std::uint32_t{0}).find("size is not possible") !=
        std::string::npos);
  CHECK(first(1, Contents(10), 9).find("size is not possible") != std::string::npos);
  CHECK(first(1, Contents(10), 1000).find("decompressed") != std::string::npos);
  CHECK(first(1, random_bytes(Catch::rngSeed(), 100), 100).find("what guest") != std::string::npos);
  CHECK(refusal(decode(Contents(100, std::byte{'x'}))).find("no checkpoint file") !=
        std::string::npos);
}

TEST_CASE("a checkpoint of a machine that cannot be is refused") {
  const auto refused = [](const std::function<void(Checkpoint&)>& change) {
    auto about = forged_about(1);
    change(about);
    return !decode(Forgery{about}.devices().end(0).file);
  };
  CHECK_FALSE(refused([](Checkpoint&) {}));
  CHECK(refused([](Checkpoint& about) { about.mutable_machine()->clear_guest(); }));
  CHECK(refused(
      [](Checkpoint& about) { about.mutable_machine()->mutable_guest()->set_name("../pg"); }));
  CHECK(refused([](Checkpoint& about) { about.mutable_machine()->clear_ram_block(); }));
  CHECK(refused([](Checkpoint& about) {
    about.mutable_machine()->mutable_ram_block(0)->set_max_bytes(~std::uint64_t{0} - 4095);
  }));
  CHECK(refused([](Checkpoint& about) { about.clear_used_bytes(); }));
  CHECK(refused([](Checkpoint& about) { about.set_used_bytes(1, 5 * page_bytes); }));
  CHECK(refused([](Checkpoint& about) { about.set_device_bytes(0); }));
  CHECK(refused([](Checkpoint& about) { about.set_device_bytes(~std::uint64_t{0}); }));
  CHECK(refused([](Checkpoint& about) { about.mutable_machine()->clear_disk_bytes(); }));
  CHECK(refused([](Checkpoint& about) { about.mutable_machine()->set_disk_bytes(0, 0); }));
  CHECK(refused(
      [](Checkpoint& about) { about.mutable_machine()->set_disk_bytes(0, ~std::uint64_t{0}); }));
  CHECK(refused([](Checkpoint& about) { about.set_host("\x1b[31m"); }));
  CHECK(refused([](Checkpoint& about) { about.set_version(std::string(300'000, 'v')); }));
}

TEST_CASE("a checkpoint is imported into the guest that it is of, and all that differs is said") {
  DiskDirectory directory;
  auto own = directory.guest(1);
  own.set_memory_mib(256);
  own.add_nic()->set_mac("52:54:00:00:00:01");
  auto about = forged_about(1);
  *about.mutable_machine()->mutable_guest() = own;
  const auto said = [&] { return refusal(check_import(about, own)); };
  CHECK(said() == "none");
  own.mutable_disk(0)->set_on_error(config::STOP);
  own.mutable_nic(0)->set_bridge("br1");
  CHECK(said() == "none");
  own.set_memory_mib(512);
  own.mutable_nic(0)->set_mac("52:54:00:00:00:02");
  CHECK_THAT(said(), Catch::Contains("memory_mib is 512 here and 256 in the checkpoint") &&
                         Catch::Contains("nic 0 is"));
  own = about.machine().guest();
  about.mutable_machine()->set_disk_bytes(0, 4096);
  CHECK_THAT(said(), Catch::Contains("truncate -s 4096 " + own.disk(0).path()));
  own.add_disk()->set_path("/none");
  CHECK_THAT(said(), Catch::Contains("number of disks is 2 here and 1"));
  own.set_name("pg2");
  CHECK(said() == "it is of guest pg, not of guest pg2");
}

TEST_CASE("noise in a checkpoint file is refused or keeps within its guest") {
  Random random{fuzz_seed()};
  const auto valid = Forgery{}.devices().units(0, {1, 3}, 2 * page_bytes).end(2).file;
  for (int i = 0; i < 3000; ++i) {
    auto input = i % 3 == 0 ? valid : random_bytes(random(), pick(random, 600));
    for (auto changes = pick(random, 5); changes > 0 && !input.empty(); --changes)
      input[pick(random, input.size())] = static_cast<std::byte>(pick(random, 6));
    fuzz_checkpoint(input);
  }
}
