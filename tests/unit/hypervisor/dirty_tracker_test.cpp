#include "hypervisor/dirty_tracker.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <set>

#include <catch2/catch.hpp>

#include "config/mapping.hpp"
#include "config/types.hpp"

using namespace understudy;
using namespace understudy::hypervisor;

namespace {

using Pages = std::set<std::uint64_t>;

struct Tracked {
  explicit Tracked(Mapping memory_, std::size_t pages)
      : memory{std::move(memory_)}, size{pages * page_bytes} {
    UniqueFd userfault{static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))};
    tracker.emplace(std::move(DirtyTracker::create(::getpid(), std::move(userfault)).value()));
  }
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(memory.bytes().data()); }
  void write(std::size_t page) { memory.bytes()[page * page_bytes + 17] = std::byte{1}; }
  Pages harvest(std::uint64_t max_pages = 1U << 30U) {
    Pages pages;
    const auto done =
        tracker->harvest(address(), size, max_pages, [&](std::uint64_t start, std::uint64_t bytes) {
          for (std::uint64_t at = start; at < start + bytes; at += page_bytes)
            pages.insert((at - address()) / page_bytes);
          return Result<>{};
        });
    CHECK(done);
    return pages;
  }
  Mapping memory;
  std::size_t size;
  std::optional<DirtyTracker> tracker;
};

Mapping shared_memory(std::size_t pages) {
  const UniqueFd fd{::memfd_create("test", MFD_CLOEXEC)};
  REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(pages * page_bytes)) == 0);
  return std::move(Mapping::shared(fd.get(), pages * page_bytes).value());
}

}  // namespace

TEST_CASE("this host can track writes") {
  CHECK(DirtyTracker::supported());
}

TEST_CASE("exactly the written pages are harvested, once, shared or private") {
  constexpr std::size_t pages = 64;
  const bool shared = GENERATE(true, false);
  Tracked guest{
      shared ? shared_memory(pages) : std::move(Mapping::anonymous(pages * page_bytes).value()),
      pages};
  guest.write(3);
  REQUIRE(guest.tracker->watch(guest.address(), guest.size));
  CHECK(guest.harvest().empty());

  guest.write(3);   // populated before
  guest.write(40);  // first touched now
  guest.write(41);
  CHECK(guest.harvest() == Pages{3, 40, 41});
  CHECK(guest.harvest().empty());
  guest.write(41);
  CHECK(guest.harvest() == Pages{41});
}

TEST_CASE("more ranges than one call returns are all found") {
  constexpr std::size_t pages = 20000;
  Tracked guest{shared_memory(pages), pages};
  REQUIRE(guest.tracker->watch(guest.address(), guest.size));
  for (std::size_t page = 0; page < pages; page += 2) guest.write(page);
  CHECK(guest.harvest().size() == pages / 2);
  CHECK(guest.harvest().empty());
}

TEST_CASE("a bounded harvest leaves the rest for the next") {
  constexpr std::size_t pages = 100;
  Tracked guest{shared_memory(pages), pages};
  REQUIRE(guest.tracker->watch(guest.address(), guest.size));
  for (std::size_t page = 0; page < pages; ++page) guest.write(page);
  CHECK(guest.harvest(30).size() == 30);
  CHECK(guest.harvest(30).size() == 30);
  CHECK(guest.harvest().size() == 40);
}

TEST_CASE("a range that is no mapping is refused") {
  Tracked guest{shared_memory(1), 1};
  CHECK_FALSE(guest.tracker->watch(0x1000, page_bytes));
}
