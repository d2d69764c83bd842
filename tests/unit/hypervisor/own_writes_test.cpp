#include "hypervisor/own_writes.hpp"

#include <sys/mman.h>

#include <catch2/catch.hpp>

#include "config/mapping.hpp"
#include "config/types.hpp"

using namespace understudy;
using namespace understudy::hypervisor;
using Catch::Matchers::Contains;

namespace {

constexpr std::uint64_t ram_bytes = 64 * page_bytes;
constexpr std::uint64_t everything = ~std::uint64_t{0};
using Pages = std::vector<std::uint64_t>;

UniqueFd memory() {
  UniqueFd file{::memfd_create("ram", MFD_CLOEXEC)};
  REQUIRE(::ftruncate(file.get(), ram_bytes) == 0);
  return file;
}

/// A backend's view of the guest's memory.
struct Backend {
  explicit Backend(const UniqueFd& ram)
      : file{ram.get()}, memory{*Mapping::shared(file, ram_bytes)} {}
  void tell(OwnWrites& writes) const { writes.mapped(this, {{file, memory.bytes()}}); }
  void write(std::uint64_t page) const { memory.bytes()[page * page_bytes + 7] = std::byte{1}; }

  int file;
  Mapping memory;
};

Pages harvested(OwnWrites& writes, std::uint64_t max_pages = everything) {
  Pages pages;
  REQUIRE(writes.harvest(max_pages, [&](std::uint64_t offset, std::uint64_t size) {
    for (std::uint64_t at = offset; at < offset + size; at += page_bytes) {
      pages.push_back(at / page_bytes);
    }
    return Result<>{};
  }));
  return pages;
}

}  // namespace

TEST_CASE("own writes to guest memory are found, each once") {
  const auto ram = memory();
  OwnWrites writes;
  REQUIRE(writes.belong_to(ram.get(), ram_bytes));
  const Backend backend{ram};
  backend.tell(writes);
  backend.write(3);
  REQUIRE(writes.track());
  CHECK(harvested(writes).empty());  // from before: a first copy takes everything anyway
  backend.write(9);
  backend.write(5);
  CHECK(harvested(writes) == Pages{5, 9});
  CHECK(harvested(writes).empty());
  backend.write(5);
  CHECK(harvested(writes) == Pages{5});
}

TEST_CASE("a harvest of few pages leaves the rest") {
  const auto ram = memory();
  OwnWrites writes;
  REQUIRE(writes.belong_to(ram.get(), ram_bytes));
  REQUIRE(writes.track());
  const Backend backend{ram};
  backend.tell(writes);
  for (const auto page : {1, 2, 3}) backend.write(static_cast<std::uint64_t>(page));
  CHECK(harvested(writes, 2) == Pages{1, 2});
  CHECK(harvested(writes) == Pages{3});
}

TEST_CASE(
    "what was written through a mapping outlives it, and a new one is tracked from the start") {
  const auto ram = memory();
  OwnWrites writes;
  REQUIRE(writes.belong_to(ram.get(), ram_bytes));
  REQUIRE(writes.track());
  Backend backend{ram};
  backend.tell(writes);
  backend.write(4);
  writes.before_change(&backend);
  backend.memory = *Mapping::shared(ram.get(), ram_bytes);
  backend.tell(writes);
  backend.write(6);
  CHECK(harvested(writes) == Pages{4, 6});
  writes.before_change(&backend);
  backend.memory = {};  // for good
  CHECK(harvested(writes).empty());
}

TEST_CASE("two backends write into one memory") {
  const auto ram = memory();
  OwnWrites writes;
  REQUIRE(writes.belong_to(ram.get(), ram_bytes));
  const Backend one{ram};
  const Backend two{ram};
  one.tell(writes);
  two.tell(writes);
  REQUIRE(writes.track());
  one.write(1);
  two.write(2);
  one.write(30);
  two.write(30);
  CHECK(harvested(writes) == Pages{1, 2, 30});
}

TEST_CASE("a mapping that changes unannounced is an error, for writes were lost") {
  const auto ram = memory();
  OwnWrites writes;
  REQUIRE(writes.belong_to(ram.get(), ram_bytes));
  REQUIRE(writes.track());
  const Backend backend{ram};
  backend.tell(writes);
  backend.tell(writes);
  const auto failed =
      writes.harvest(everything, [](std::uint64_t, std::uint64_t) { return Result<>{}; });
  REQUIRE_FALSE(failed);
  CHECK_THAT(failed.error().message, Contains("unannounced"));
  REQUIRE(writes.track());
  CHECK(harvested(writes).empty());
}

TEST_CASE("a mapping that cannot be tracked makes every harvest fail") {
  const auto ram = memory();
  const auto other = memory();
  OwnWrites writes;
  REQUIRE(writes.belong_to(ram.get(), ram_bytes));
  REQUIRE(writes.track());
  const Backend backend{other};
  backend.tell(writes);
  const auto visit = [](std::uint64_t, std::uint64_t) { return Result<>{}; };
  const auto refused = writes.harvest(everything, visit);
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().message, Contains("not its main RAM"));
  REQUIRE(writes.track());
  CHECK_FALSE(writes.harvest(everything, visit));
}
