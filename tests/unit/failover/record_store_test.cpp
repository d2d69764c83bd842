#include "failover/record_store.hpp"

#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

#include "tests/unit/failover/temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

peer::Memory some_memory() {
  peer::Memory memory;
  memory.set_voter(true);
  memory.set_ballot(42);
  auto& entry = *memory.add_record();
  entry.set_guest("pg");
  entry.set_ballot(41);
  entry.mutable_record()->set_term(7);
  entry.mutable_record()->set_active(1);
  return memory;
}

peer::Memory loaded(const std::string& directory) {
  auto store = RecordStore::open(directory);
  REQUIRE(store);
  return store->load();
}

std::string contents(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace

TEST_CASE("a record that was stored is there again") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "deep/state";
  {
    auto store = RecordStore::open(path);
    REQUIRE(store);
    CHECK(store->load().SerializeAsString().empty());
    REQUIRE(store->save(some_memory()));
  }
  CHECK(loaded(path).SerializeAsString() == some_memory().SerializeAsString());
}

TEST_CASE("any damaged byte and any missing end is noticed, and the file is kept") {
  const TemporaryDirectory directory;
  auto store = RecordStore::open(directory.path());
  REQUIRE(store);
  REQUIRE(store->save(some_memory()));
  const auto good = contents(store->path());
  const auto check = [&](const std::string& bad) {
    std::ofstream{store->path(), std::ios::binary} << bad;
    const auto memory = loaded(directory.path());
    REQUIRE(memory.damaged());
    REQUIRE_FALSE(memory.voter());
    REQUIRE(contents(store->path() + ".damaged") == bad);
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    auto bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    check(bad);
    check(good.substr(0, i));
  }
  check(std::string(2U << 20U, 'x'));
}

TEST_CASE("a write that was cut short leaves what was there before") {
  const TemporaryDirectory directory;
  auto store = RecordStore::open(directory.path());
  REQUIRE(store);
  REQUIRE(store->save(some_memory()));
  std::ofstream{store->path() + ".new"} << "torn";
  CHECK(loaded(directory.path()).ballot() == 42);
}

TEST_CASE("a directory that cannot be made is named") {
  const auto store = RecordStore::open("/proc/nothing/here");
  REQUIRE_FALSE(store);
  CHECK(store.error().message.find("/proc/nothing/here") != std::string::npos);
}
