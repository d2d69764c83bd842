#include <catch2/catch.hpp>

#include "failover_world.hpp"

namespace understudy::sim {

using failover::nobody;
using failover::Presence;

namespace {

constexpr int a = 0;
constexpr int b = 1;

void start_on_a(World& world) {
  world.settle();
  REQUIRE(world.at(a).role->start(*world.at(a).book));
  world.settle();
  REQUIRE(world.at(a).runs);
  REQUIRE(world.at(a).output == Output::open);
}

void protect_to_b(World& world) {
  REQUIRE(world.at(a).role->protect(*world.at(a).book, NodeId{2}));
  world.settle();
  REQUIRE(world.at(a).book->decided(guest_name).backup == NodeId{2});
  REQUIRE(world.at(a).output == Output::holding);
}

TEST_CASE("a guest starts when a majority has recorded it", "[roles]") {
  World world{1};
  start_on_a(world);
  for (const auto& host : world.hosts) CHECK(host.book->decided(guest_name).active == NodeId{1});
  CHECK_FALSE(world.at(b).role->start(*world.at(b).book));
}

TEST_CASE("the backup takes over when the primary's host dies", "[roles]") {
  World world{2};
  start_on_a(world);
  protect_to_b(world);
  world.kill(a);
  world.settle();
  CHECK(world.at(b).runs);
  CHECK(world.at(b).output == Output::open);
  CHECK(world.violation.empty());

  SECTION("and a host that comes back leaves it there") {
    world.revive(a);
    world.settle();
    CHECK(world.at(b).runs);
    CHECK_FALSE(world.at(a).runs);
    CHECK(world.at(a).book->decided(guest_name).active == NodeId{2});
  }
}

TEST_CASE("an unprotected guest is not run on elsewhere", "[roles]") {
  World world{3};
  start_on_a(world);
  world.kill(a);
  world.settle();
  CHECK(world.running() == 0);
}

TEST_CASE("the primary goes on alone once a quorum has recorded the loss of its backup",
          "[roles]") {
  World world{4};
  start_on_a(world);
  protect_to_b(world);
  world.kill(b);
  CHECK(world.at(a).output == Output::holding);
  world.settle();
  CHECK(world.at(a).runs);
  CHECK(world.at(a).output == Output::open);
  CHECK(world.at(a).book->decided(guest_name).backup == nobody);
}

TEST_CASE("a primary that is cut off shows nothing any more, and ends when it is back", "[roles]") {
  World world{5};
  start_on_a(world);
  protect_to_b(world);
  world.split({{0}, {1, 2}});
  world.settle();
  CHECK(world.at(a).output == Output::closed);
  CHECK(world.at(a).suspended);
  CHECK(world.at(b).runs);
  world.split({{0, 1, 2}});
  world.settle();
  CHECK_FALSE(world.at(a).runs);
  CHECK(world.running() == 1);
  CHECK(world.violation.empty());
}

TEST_CASE("without any quorum the guest waits, and goes on when it is back", "[roles]") {
  World world{6};
  start_on_a(world);
  protect_to_b(world);
  world.split({{0}, {1}, {2}});
  world.settle();
  CHECK(world.running() == 0);
  world.split({{0, 1, 2}});
  world.settle();
  CHECK(world.at(a).runs);
  CHECK_FALSE(world.at(a).suspended);
  CHECK(world.at(a).output == Output::holding);
}

TEST_CASE("a backup whose session is lost is given up by record", "[roles]") {
  World world{7};
  start_on_a(world);
  protect_to_b(world);
  world.session_broken = true;
  const auto alone = [&] {
    return world.at(a).output == Output::open && world.at(b).role->presence() == Presence::none;
  };
  for (int n = 0; n < 20000 && !alone(); ++n) world.run(1);
  CHECK(alone());
  CHECK(world.at(a).book->decided(guest_name).backup == nobody);
}

TEST_CASE("a guest that dies on a living host is handed to its backup", "[roles]") {
  World world{8};
  start_on_a(world);
  protect_to_b(world);
  world.at(a).runs = false;
  world.at(a).role->guest_failed("QEMU is gone");
  world.settle();
  CHECK(world.at(b).runs);
  CHECK(world.violation.empty());
}

TEST_CASE("stop, unprotect and refusals", "[roles]") {
  World world{9};
  start_on_a(world);
  protect_to_b(world);
  SECTION("stop ends both sides") {
    REQUIRE(world.at(a).role->stop(*world.at(a).book));
    world.settle();
    CHECK(world.running() == 0);
    CHECK(world.at(b).role->presence() == Presence::none);
    REQUIRE(world.at(a).answers.back());
  }
  SECTION("unprotect opens the output") {
    REQUIRE(world.at(a).role->unprotect(*world.at(a).book));
    world.settle();
    CHECK(world.at(a).output == Output::open);
    CHECK(world.at(b).role->presence() == Presence::none);
  }
  SECTION("a second protection is refused") {
    CHECK_FALSE(world.at(a).role->protect(*world.at(a).book, NodeId{3}));
  }
  SECTION("the backup's host may not command it") {
    CHECK_FALSE(world.at(b).role->stop(*world.at(b).book));
  }
}

TEST_CASE("hosts without memory decide nothing until all have met", "[roles]") {
  World world{10};
  world.settle();
  world.kill(a);
  world.kill(b);
  world.at(b).disk.Clear();
  world.revive(b);
  world.settle();
  CHECK_FALSE(world.at(b).book->ready());
  world.at(a).disk.Clear();
  world.revive(a);
  world.settle();
  CHECK_FALSE(world.at(a).book->ready());  // the witness remembers, the two others do not
}

TEST_CASE("after a power loss of all, two hosts that remember suffice", "[roles]") {
  World world{13};
  start_on_a(world);
  protect_to_b(world);
  const auto term = world.at(a).book->decided(guest_name).term;
  for (int i = 0; i < 3; ++i) world.kill(i);
  world.revive(b);
  world.settle();
  CHECK_FALSE(world.at(b).book->ready());
  world.revive(2);
  world.settle();
  REQUIRE(world.at(b).book->ready());
  CHECK(world.at(b).book->decided(guest_name).term >= term);
  CHECK(world.at(b).book->voter());
}

TEST_CASE("a damaged memory is no first meeting, and is healed by a majority", "[roles]") {
  World world{14};
  start_on_a(world);
  for (int i = 0; i < 3; ++i) world.kill(i);
  SECTION("one of three") {
    world.at(a).disk.Clear();
    world.at(a).disk.set_damaged(true);
    for (int i = 0; i < 3; ++i) world.revive(i);
    world.settle();
    CHECK(world.at(a).book->ready());
    CHECK_FALSE(world.at(a).book->damaged());
  }
  SECTION("all of them") {
    for (int i = 0; i < 3; ++i) {
      world.at(i).disk.Clear();
      world.at(i).disk.set_damaged(i == 0);
      world.revive(i);
    }
    world.settle();
    CHECK_FALSE(world.at(a).book->ready());
    CHECK(world.at(a).book->damaged());
  }
}

TEST_CASE("lost messages delay, and stop nothing", "[roles]") {
  World world{11};
  world.lossy = true;
  start_on_a(world);
  protect_to_b(world);
  world.kill(a);
  world.settle();
  CHECK(world.at(b).runs);
}

TEST_CASE("stop does not wait for a synchronisation that does not end", "[roles]") {
  World world{12};
  start_on_a(world);
  world.frozen_sync = true;
  REQUIRE(world.at(a).role->protect(*world.at(a).book, NodeId{2}));
  world.settle();
  REQUIRE(world.at(a).role->stop(*world.at(a).book));
  world.settle();
  CHECK(world.running() == 0);
  REQUIRE(world.at(a).answers.size() == 3);
  CHECK_FALSE(world.at(a).answers[1]);
  CHECK(world.at(a).answers[2]);
}

TEST_CASE("who has been protected is protected again by itself", "[roles]") {
  World world{15};
  start_on_a(world);
  protect_to_b(world);
  SECTION("after a failover, to the host that comes back") {
    world.kill(a);
    world.settle();
    REQUIRE(world.at(b).runs);
    world.revive(a);
    world.settle(20000);
    CHECK(world.at(b).book->decided(guest_name).backup == NodeId{1});
    CHECK(world.at(b).output == Output::holding);
    world.kill(b);
    world.settle();
    CHECK(world.at(a).runs);
  }
  SECTION("after the backup was lost and came back") {
    world.kill(b);
    world.settle();
    REQUIRE(world.at(a).output == Output::open);
    world.revive(b);
    world.settle(20000);
    CHECK(world.at(a).book->decided(guest_name).backup == NodeId{2});
  }
  SECTION("after a stop and a start") {
    REQUIRE(world.at(a).role->stop(*world.at(a).book));
    world.settle();
    REQUIRE(world.at(a).role->start(*world.at(a).book));
    world.settle(20000);
    CHECK(world.at(a).book->decided(guest_name).backup == NodeId{2});
  }
  SECTION("but not after unprotect, even of a guest whose backup is gone") {
    if (world.pick(2) == 0) world.kill(b);
    world.settle();
    REQUIRE(world.at(a).role->unprotect(*world.at(a).book));
    world.settle();
    if (!world.at(b).alive) world.revive(b);
    world.settle(20000);
    CHECK(world.at(a).book->decided(guest_name).backup == nobody);
    CHECK(world.at(a).output == Output::open);
  }
  CHECK(world.violation.empty());
}

TEST_CASE("a protection that began by itself can be asked for", "[roles]") {
  World world{16};
  start_on_a(world);
  protect_to_b(world);
  world.kill(b);
  world.settle();
  world.revive(b);
  world.frozen_sync = true;
  world.settle(20000);
  REQUIRE(world.at(a).role->copying());
  REQUIRE(world.at(a).role->protect(*world.at(a).book, NodeId{2}));
  world.frozen_sync = false;
  world.settle();
  REQUIRE(world.at(a).answers.back());
  CHECK(*world.at(a).answers.back() == "protected");
}

TEST_CASE("a switchover moves the guest, and it is protected back", "[roles]") {
  World world{17};
  start_on_a(world);
  protect_to_b(world);
  REQUIRE(world.at(a).role->switch_over(*world.at(a).book));
  world.settle();
  REQUIRE(world.at(a).answers.back());
  CHECK(world.at(b).runs);
  CHECK_FALSE(world.at(a).runs);
  world.settle(20000);
  CHECK(world.at(b).book->decided(guest_name).backup == NodeId{1});
  CHECK(world.at(b).output == Output::holding);
  CHECK(world.violation.empty());
}

TEST_CASE("a switchover that fails leaves the guest where it was", "[roles]") {
  World world{18};
  start_on_a(world);
  SECTION("without a backup it is refused") {
    CHECK_FALSE(world.at(a).role->switch_over(*world.at(a).book));
    return;
  }
  protect_to_b(world);
  SECTION("the backup does not take the last epoch") {
    world.frozen_sync = true;
    REQUIRE(world.at(a).role->switch_over(*world.at(a).book));
    world.settle();
    world.frozen_sync = false;
  }
  SECTION("the backup dies before the record names it") {
    REQUIRE(world.at(a).role->switch_over(*world.at(a).book));
    world.kill(b);
    world.settle();
  }
  SECTION("the backup cannot run it") {
    world.failing_promotions = 4;
    REQUIRE(world.at(a).role->switch_over(*world.at(a).book));
    world.settle();
  }
  REQUIRE(world.at(a).answers.size() == 3);
  CHECK_FALSE(world.at(a).answers.back());
  CHECK(world.at(a).runs);
  CHECK_FALSE(world.at(a).suspended);
  CHECK_FALSE(world.at(b).runs);
  CHECK(world.violation.empty());
}

}  // namespace
}  // namespace understudy::sim
