#include "checkpointer/page_server.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include <catch2/catch.hpp>

#include "config/mapping.hpp"
#include "config/types.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

constexpr std::size_t clone_pages = 256;
constexpr std::size_t patience_ms = 200;

using Bytes = std::vector<std::byte>;

/// A replica's image, and the memory of a machine that shares it: in this process, too.
struct Shared {
  Shared() : image(clone_pages * page_bytes) {
    for (std::size_t page = 0; page < clone_pages; page += 2) {
      fill(page, value(page));
      used[page] = true;
    }
    moment->begin(used);
    server.emplace(moment, machine);
  }
  ~Shared() { server.reset(); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  static std::byte value(std::size_t page) {
    return page % 2 == 0 ? static_cast<std::byte>(page / 2 + 1) : std::byte{};
  }
  void fill(std::size_t page, std::byte with) {
    std::ranges::fill(std::span{image}.subspan(page * page_bytes, page_bytes), with);
  }
  /// As a replica does that applies an epoch.
  void change(std::size_t page, std::byte with) {
    moment->preserve(page);
    fill(page, with);
  }
  /// As the machine reads it: waits until it is there.
  [[nodiscard]] std::byte read(std::size_t page, std::size_t at = 0) const {
    return static_cast<const volatile std::byte*>(memory.bytes().data())[page * page_bytes + at];
  }
  [[nodiscard]] bool whole(std::size_t page) const {
    return read(page) == value(page) && read(page, page_bytes - 1) == value(page);
  }

  Bytes image;
  std::vector<bool> used = std::vector<bool>(clone_pages);
  UniqueFd file{::memfd_create("clone", MFD_CLOEXEC)};
  int sized = ::ftruncate(file.get(), clone_pages* page_bytes);
  Mapping memory = std::move(Mapping::shared(file.get(), clone_pages* page_bytes).value());
  std::shared_ptr<hypervisor::PagesOnDemand> machine =
      std::move(hypervisor::PagesOnDemand::create(
                    UniqueFd{static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))},
                    reinterpret_cast<std::uint64_t>(memory.bytes().data()), memory.bytes().size())
                    .value());
  std::shared_ptr<RamSnapshot> moment = std::make_shared<RamSnapshot>(
      image, [this](std::size_t page, auto contents) { machine->give(page, contents); },
      clone_pages);
  std::optional<PageServer> server;
};

}  // namespace

TEST_CASE("a clone has the moment's pages when it touches them, and shares what it does not") {
  Shared clone;
  CHECK(clone.whole(100));
  const auto touched = clone.machine->given_bytes();
  CHECK(touched > 0);
  CHECK(touched <= 16 * page_bytes);
  for (std::size_t page = 0; page < clone_pages; page += 3) clone.change(page, std::byte{0xee});
  for (std::size_t page = 0; page < clone_pages; ++page) CHECK(clone.whole(page));
  CHECK(clone.machine->given_bytes() == clone_pages * page_bytes);
  CHECK(clone.server->check());
}

TEST_CASE("whatever the replica changes meanwhile, a clone's pages are whole and of the moment") {
  Shared clone;
  std::atomic<bool> done{};
  std::thread writer{[&] {
    for (std::uint8_t round = 1; !done; ++round) {
      for (std::size_t page = clone_pages; page-- > 0;) clone.change(page, std::byte{round});
    }
  }};
  std::size_t wrong = 0;
  for (std::size_t page = 0; page < clone_pages; ++page) wrong += clone.whole(page) ? 0 : 1;
  done = true;
  writer.join();
  CHECK(wrong == 0);
}

TEST_CASE("a page that is fetched before it is changed from beside is there to be changed") {
  Shared clone;
  const auto beside =
      std::move(Mapping::shared(clone.file.get(), clone.memory.bytes().size()).value());
  CHECK(clone.moment->fetch(10) == RamSnapshot::Page::there);
  CHECK(clone.moment->fetch(11) == RamSnapshot::Page::zeros);
  CHECK(beside.bytes()[10 * page_bytes] == Shared::value(10));
  beside.bytes()[10 * page_bytes] = std::byte{0x77};
  CHECK(clone.read(10) == std::byte{0x77});
  CHECK(clone.moment->fetch(10) == RamSnapshot::Page::there);
  CHECK(clone.read(10) == std::byte{0x77});
}

TEST_CASE("a clone whose replica is gone is told, and waits for a page until it is ended") {
  Shared clone;
  CHECK(clone.whole(2));
  clone.moment->detach();
  CHECK_FALSE(clone.server->check());
  CHECK(clone.moment->fetch(200) == RamSnapshot::Page::lost);
  std::atomic<bool> seen{};
  std::thread reader{[&] {
    static_cast<void>(clone.read(200));
    seen = true;
  }};
  std::this_thread::sleep_for(std::chrono::milliseconds{patience_ms});
  CHECK_FALSE(seen);
  clone.machine->give_zeros(200);  // or it would never end
  reader.join();
}
