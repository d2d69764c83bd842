#include "checkpointer/earlier_memory.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "checkpointer/replica.hpp"
#include "config/limits.hpp"
#include "config/mapping.hpp"
#include "config/unique_fd.hpp"
#include "fakes.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Memory = std::vector<std::byte>;

std::span<std::byte> page_of(Memory& memory, std::uint64_t page) {
  return std::span{memory}.subspan(page * page_bytes, page_bytes);
}

Result<> keep_in(EarlierMemory& earlier, const replication::MemoryKeepRequest& request) {
  return earlier.keep(
      request, [](std::uint64_t) {}, [] { return true; });
}

/// Both sides, without a session between them.
struct Pair {
  explicit Pair(std::uint64_t pages = 20) : machine{layout_of_pages(pages)} {}

  Result<EqualMemory> compare(EarlierMemory& earlier) {
    return find_equal_memory(
        machine, shadow, [&](const replication::Request& request) -> Result<replication::Reply> {
          ++asked;
          replication::Reply reply;
          if (request.has_memory_digest()) {
            UNDERSTUDY_TRY(*reply.mutable_memory_digest()->mutable_digests(),
                           earlier.digests(request.memory_digest()));
          } else {
            UNDERSTUDY_CHECK(keep_in(earlier, request.memory_keep()));
          }
          return reply;
        });
  }

  FakeMachine machine;
  Memory shadow = Memory(machine.layout().bytes());
  int asked{};
};

replication::MemoryDigestRequest digest_request(std::uint64_t first, std::uint64_t pages) {
  replication::MemoryDigestRequest request;
  request.set_first_page(first);
  request.set_pages(pages);
  return request;
}

}  // namespace

TEST_CASE("what is equal stays on both sides, and all else is zeros on both") {
  Pair pair;
  pair.machine.run(100);
  pair.machine.fill(11, std::byte{5});
  auto image = pair.machine.ram();
  pair.machine.fill(3, std::byte{7});
  pair.machine.fill(11, std::byte{});
  EarlierMemory earlier{image};
  const auto found = pair.compare(earlier);
  REQUIRE(found);
  CHECK(found->compared == pair.machine.layout().pages());
  CHECK(found->equal == found->compared - 2);
  earlier.settle();
  CHECK(image == pair.shadow);
  CHECK(std::ranges::equal(page_of(image, 3), Memory(page_bytes)));
  CHECK(std::ranges::equal(page_of(image, 4),
                           std::span{pair.machine.ram()}.subspan(4 * page_bytes, page_bytes)));
}

TEST_CASE("a backup that has nothing from before is asked once") {
  Pair pair{2 * limits::memory_digests};
  pair.machine.fill(1, std::byte{1});
  EarlierMemory earlier{{}};
  const auto found = pair.compare(earlier);
  REQUIRE(found);
  CHECK(found->compared == 0);
  CHECK(pair.asked == 1);
  CHECK(std::ranges::all_of(pair.shadow, [](std::byte b) { return b == std::byte{}; }));
}

TEST_CASE("pages beyond what is there from before are never equal") {
  Pair pair;
  pair.machine.run(50);
  Memory image(pair.machine.ram().begin(), pair.machine.ram().begin() + 5 * page_bytes);
  EarlierMemory earlier{image};
  const auto found = pair.compare(earlier);
  REQUIRE(found);
  CHECK(found->equal == 5);
}

TEST_CASE("questions that cannot be are refused, and all of them once the replica has begun") {
  Memory image(8 * page_bytes, std::byte{5});
  EarlierMemory earlier{image};
  CHECK_FALSE(earlier.digests(digest_request(0, limits::memory_digests + 1)));
  CHECK(earlier.digests(digest_request(~std::uint64_t{0}, 3)));
  replication::MemoryKeepRequest keep;
  keep.set_first_page(7);
  keep.set_pages(2);
  keep.set_kept("\x03");
  CHECK_FALSE(keep_in(earlier, keep));
  keep.set_first_page(0);
  keep.set_pages(9);
  CHECK_FALSE(keep_in(earlier, keep));
  keep.set_pages(limits::memory_digests + 8);
  keep.set_kept(std::string(limits::memory_digests, '\xff'));
  CHECK_FALSE(keep_in(earlier, keep));
  CHECK_FALSE(earlier.digests(digest_request(0, limits::memory_digests + 1)));
  earlier.settle();
  CHECK_FALSE(earlier.digests(digest_request(0, 1)));
  keep.set_pages(1);
  CHECK_FALSE(keep_in(earlier, keep));
}

TEST_CASE("a primary cannot keep what it has had cleared") {
  Memory image(8 * page_bytes, std::byte{5});
  EarlierMemory earlier{image};
  replication::MemoryKeepRequest keep;
  keep.set_first_page(4);
  keep.set_pages(1);
  keep.set_kept("\x01");
  REQUIRE(keep_in(earlier, keep));
  CHECK(image[3 * page_bytes] == std::byte{});
  CHECK(image[4 * page_bytes] == std::byte{5});
  CHECK(image[5 * page_bytes] == std::byte{5});
  keep.set_first_page(2);
  CHECK_FALSE(keep_in(earlier, keep));
  earlier.settle();
  CHECK(image[4 * page_bytes] == std::byte{5});
  CHECK(image[5 * page_bytes] == std::byte{});
}

TEST_CASE("a machine's memory is given back where it is cleared") {
  const UniqueFd file{::memfd_create("test", MFD_CLOEXEC)};
  constexpr std::size_t pages = 64;
  REQUIRE(::ftruncate(file.get(), pages * page_bytes) == 0);
  auto mapping = Mapping::anonymous(pages * page_bytes);
  REQUIRE(mapping);
  REQUIRE(mapping->overlay_start(file.get(), pages * page_bytes));
  std::ranges::fill(mapping->bytes(), std::byte{5});
  EarlierMemory earlier{mapping->bytes()};
  replication::MemoryKeepRequest keep;
  keep.set_first_page(10);
  keep.set_pages(2);
  keep.set_kept("\x02");
  REQUIRE(keep_in(earlier, keep));
  earlier.settle();
  struct stat about {};
  REQUIRE(::fstat(file.get(), &about) == 0);
  CHECK(about.st_blocks * 512 <= static_cast<long>(2 * page_bytes));
  CHECK(mapping->bytes()[11 * page_bytes] == std::byte{5});
  CHECK(mapping->bytes()[10 * page_bytes] == std::byte{});
  CHECK(mapping->bytes()[12 * page_bytes] == std::byte{});
}

TEST_CASE("a primary that does not ask finds an image of zeros") {
  const auto layout = small_layout();
  Memory image(layout.bytes(), std::byte{9});
  auto replica = Replica::create(
      layout, image, [](const Error&) {}, [](Epoch) {}, nullptr, nullptr, image);
  REQUIRE(replica);
  SECTION("it synchronises") {
    REQUIRE((*replica)->on_sync_pages({}));
  }
  SECTION("it begins with an epoch") {
    replication::StagedEpoch epoch{Epoch{1}, {}, {}, {}};
    for (const auto& block : layout.blocks()) epoch.seal.add_used_bytes(block.used_bytes);
    (*replica)->on_commit(epoch);
  }
  CHECK(std::ranges::all_of(image, [](std::byte b) { return b == std::byte{}; }));
}
