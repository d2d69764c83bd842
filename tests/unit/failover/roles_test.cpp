#include <catch2/catch.hpp>

#include "two_hosts.hpp"

namespace understudy::sim {

using failover::nobody;
using failover::Presence;

namespace {

TEST_CASE("a guest starts when a majority has recorded it", "[roles]") {
  World world{1};
  start_on_a(world);
  for (const auto& host : world.hosts)
    CHECK(host.book->decided(world.guest().name()).active == NodeId{1});
  CHECK_FALSE(world.on(b).role->start(*world.at(b).book));
}

TEST_CASE("the backup takes over when the primary's host dies", "[roles]") {
  World world{2};
  start_on_a(world);
  protect_to_b(world);
  world.kill(a);
  world.settle();
  CHECK(world.on(b).runs);
  CHECK(world.on(b).output() == Output::open);
  CHECK(world.violation.empty());

  SECTION("and a host that comes back leaves it there") {
    world.revive(a);
    world.settle();
    CHECK(world.on(b).runs);
    CHECK_FALSE(world.on(a).runs);
    CHECK(world.at(a).book->decided(world.guest().name()).active == NodeId{2});
  }
}

TEST_CASE("an unprotected guest is not run on elsewhere", "[roles]") {
  World world{3};
  start_on_a(world);
  world.kill(a);
  world.settle();
  CHECK(world.guest().running() == 0);
}

TEST_CASE("the primary goes on alone once a quorum has recorded the loss of its backup",
          "[roles]") {
  World world{4};
  start_on_a(world);
  protect_to_b(world);
  world.kill(b);
  CHECK(world.on(a).output() == Output::holding);
  world.settle();
  CHECK(world.on(a).runs);
  CHECK(world.on(a).output() == Output::open);
  CHECK(world.at(a).book->decided(world.guest().name()).backup == nobody);
}

TEST_CASE("a primary that is cut off shows nothing any more, and ends when it is back", "[roles]") {
  World world{5};
  start_on_a(world);
  protect_to_b(world);
  world.split({{0}, {1, 2}});
  world.settle();
  CHECK(world.on(a).output() == Output::closed);
  CHECK(world.on(a).suspended);
  CHECK(world.on(b).runs);
  world.split({{0, 1, 2}});
  world.settle();
  CHECK_FALSE(world.on(a).runs);
  CHECK(world.guest().running() == 1);
  CHECK(world.violation.empty());
}

TEST_CASE("without any quorum the guest waits, and goes on when it is back", "[roles]") {
  World world{6};
  start_on_a(world);
  protect_to_b(world);
  world.split({{0}, {1}, {2}});
  world.settle();
  CHECK(world.guest().running() == 0);
  world.split({{0, 1, 2}});
  world.settle();
  CHECK(world.on(a).runs);
  CHECK_FALSE(world.on(a).suspended);
  CHECK(world.on(a).output() == Output::holding);
}

TEST_CASE("a backup whose session is lost is given up by record", "[roles]") {
  World world{7};
  start_on_a(world);
  protect_to_b(world);
  world.guest().session_broken = true;
  const auto alone = [&] {
    return world.on(a).output() == Output::open && world.on(b).role->presence() == Presence::none;
  };
  for (int n = 0; n < 20000 && !alone(); ++n) world.run(1);
  CHECK(alone());
  CHECK(world.at(a).book->decided(world.guest().name()).backup == nobody);
}

TEST_CASE("a guest that dies on a living host is handed to its backup", "[roles]") {
  World world{8};
  start_on_a(world);
  protect_to_b(world);
  world.on(a).runs = false;
  world.on(a).role->guest_failed("QEMU is gone");
  world.settle();
  CHECK(world.on(b).runs);
  CHECK(world.violation.empty());
}

TEST_CASE("stop, unprotect and refusals", "[roles]") {
  World world{9};
  start_on_a(world);
  protect_to_b(world);
  SECTION("stop ends both sides") {
    REQUIRE(world.on(a).role->stop(*world.at(a).book));
    world.settle();
    CHECK(world.guest().running() == 0);
    CHECK(world.on(b).role->presence() == Presence::none);
    REQUIRE(world.on(a).answers.back());
  }
  SECTION("unprotect opens the output") {
    REQUIRE(world.on(a).role->unprotect(*world.at(a).book));
    world.settle();
    CHECK(world.on(a).output() == Output::open);
    CHECK(world.on(b).role->presence() == Presence::none);
  }
  SECTION("a second protection is refused") {
    CHECK_FALSE(world.on(a).role->protect(*world.at(a).book, NodeId{3}));
  }
  SECTION("the backup's host may not command it") {
    CHECK_FALSE(world.on(b).role->stop(*world.at(b).book));
  }
}

TEST_CASE("a guest that is being stopped is not shown any more when others may start it",
          "[roles]") {
  World world{19};
  start_on_a(world);
  if (GENERATE(false, true)) protect_to_b(world);
  REQUIRE(world.on(a).role->stop(*world.at(a).book));
  const auto& there = *world.at(b).book;
  const auto& here = *world.at(a).book;
  for (int n = 0; n < 20000 && !here.pending(world.guest().name()); ++n) world.run(1);
  world.slow = a;  // it does not hear what the others decide
  const auto stopped = [&](const auto& book) {
    return book.ready() && book.decided(world.guest().name()).active == nobody;
  };
  for (int n = 0; n < 20000 && !stopped(there); ++n) world.run(1);
  REQUIRE(stopped(there));
  REQUIRE_FALSE(stopped(here));
  CHECK(world.on(a).output() == Output::closed);
  world.settle();
  CHECK(world.guest().running() == 0);
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
  const auto term = world.at(a).book->decided(world.guest().name()).term;
  for (int i = 0; i < 3; ++i) world.kill(i);
  world.revive(b);
  world.settle();
  CHECK_FALSE(world.at(b).book->ready());
  world.revive(2);
  world.settle();
  REQUIRE(world.at(b).book->ready());
  CHECK(world.at(b).book->decided(world.guest().name()).term >= term);
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
  CHECK(world.on(b).runs);
}

TEST_CASE("stop does not wait for a synchronisation that does not end", "[roles]") {
  World world{12};
  start_on_a(world);
  world.guest().frozen_sync = true;
  REQUIRE(world.on(a).role->protect(*world.at(a).book, NodeId{2}));
  world.settle();
  REQUIRE(world.on(a).role->stop(*world.at(a).book));
  world.settle();
  CHECK(world.guest().running() == 0);
  REQUIRE(world.on(a).answers.size() == 3);
  CHECK_FALSE(world.on(a).answers[1]);
  CHECK(world.on(a).answers[2]);
}

TEST_CASE("who has been protected is protected again by itself", "[roles]") {
  World world{15};
  start_on_a(world);
  protect_to_b(world);
  SECTION("after a failover, to the host that comes back") {
    world.kill(a);
    world.settle();
    REQUIRE(world.on(b).runs);
    world.revive(a);
    world.settle(20000);
    CHECK(world.at(b).book->decided(world.guest().name()).backup == NodeId{1});
    CHECK(world.on(b).output() == Output::holding);
    world.kill(b);
    world.settle();
    CHECK(world.on(a).runs);
  }
  SECTION("after the backup was lost and came back") {
    world.kill(b);
    world.settle();
    REQUIRE(world.on(a).output() == Output::open);
    world.revive(b);
    world.settle(20000);
    CHECK(world.at(a).book->decided(world.guest().name()).backup == NodeId{2});
  }
  SECTION("after a stop and a start") {
    REQUIRE(world.on(a).role->stop(*world.at(a).book));
    world.settle();
    REQUIRE(world.on(a).role->start(*world.at(a).book));
    world.settle(20000);
    CHECK(world.at(a).book->decided(world.guest().name()).backup == NodeId{2});
  }
  SECTION("but not after unprotect, even of a guest whose backup is gone") {
    if (world.pick(2) == 0) world.kill(b);
    world.settle();
    REQUIRE(world.on(a).role->unprotect(*world.at(a).book));
    world.settle();
    if (!world.at(b).alive) world.revive(b);
    world.settle(20000);
    CHECK(world.at(a).book->decided(world.guest().name()).backup == nobody);
    CHECK(world.on(a).output() == Output::open);
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
  world.guest().frozen_sync = true;
  world.settle(20000);
  REQUIRE(world.on(a).role->copying());
  REQUIRE(world.on(a).role->protect(*world.at(a).book, NodeId{2}));
  world.guest().frozen_sync = false;
  world.settle();
  REQUIRE(world.on(a).answers.back());
  CHECK(*world.on(a).answers.back() == "protected");
}

TEST_CASE("who asks for protection once more while its backup dies is answered", "[roles]") {
  World world{static_cast<std::uint64_t>(GENERATE(range(30, 38)))};
  start_on_a(world);
  world.guest().frozen_sync = true;
  REQUIRE(world.on(a).role->protect(*world.at(a).book, NodeId{2}));
  world.settle();
  REQUIRE(world.on(a).role->copying());
  world.kill(b);
  REQUIRE(world.on(a).role->protect(*world.at(a).book, NodeId{2}));
  world.settle(20000);
  REQUIRE(world.on(a).answers.size() == 3);
  CHECK_FALSE(world.on(a).answers[1]);
  CHECK_FALSE(world.on(a).answers[2]);
}

TEST_CASE("a switchover moves the guest, and it is protected back", "[roles]") {
  World world{17};
  start_on_a(world);
  protect_to_b(world);
  REQUIRE(world.on(a).role->switch_over(*world.at(a).book));
  world.settle();
  REQUIRE(world.on(a).answers.back());
  CHECK(world.on(b).runs);
  CHECK_FALSE(world.on(a).runs);
  world.settle(20000);
  CHECK(world.at(b).book->decided(world.guest().name()).backup == NodeId{1});
  CHECK(world.on(b).output() == Output::holding);
  CHECK(world.violation.empty());
}

TEST_CASE("a switchover that fails leaves the guest where it was", "[roles]") {
  World world{18};
  start_on_a(world);
  SECTION("without a backup it is refused") {
    CHECK_FALSE(world.on(a).role->switch_over(*world.at(a).book));
    return;
  }
  protect_to_b(world);
  SECTION("the backup does not take the last epoch") {
    world.guest().frozen_sync = true;
    REQUIRE(world.on(a).role->switch_over(*world.at(a).book));
    world.settle();
    world.guest().frozen_sync = false;
  }
  SECTION("the backup dies before the record names it") {
    REQUIRE(world.on(a).role->switch_over(*world.at(a).book));
    world.kill(b);
    world.settle();
  }
  SECTION("the backup cannot run it") {
    world.failing_promotions = 4;
    REQUIRE(world.on(a).role->switch_over(*world.at(a).book));
    world.settle();
  }
  REQUIRE(world.on(a).answers.size() == 3);
  CHECK_FALSE(world.on(a).answers.back());
  CHECK(world.on(a).runs);
  CHECK_FALSE(world.on(a).suspended);
  CHECK_FALSE(world.on(b).runs);
  CHECK(world.violation.empty());
}

TEST_CASE("guests protected in both directions fail over each by itself", "[roles]") {
  World world{20, {.guests = 2}};
  world.settle();
  REQUIRE(world.on(a, 0).role->start(*world.at(a).book));
  REQUIRE(world.on(b, 1).role->start(*world.at(b).book));
  world.settle();
  REQUIRE(world.on(a, 0).role->protect(*world.at(a).book, NodeId{2}));
  REQUIRE(world.on(b, 1).role->protect(*world.at(b).book, NodeId{1}));
  world.settle();
  REQUIRE(world.on(a, 0).output() == Output::holding);
  REQUIRE(world.on(b, 1).output() == Output::holding);
  const auto answers = world.guest(1).answers();
  world.kill(a);
  world.settle(20000);
  CHECK(world.on(b, 0).runs);
  CHECK(world.on(b, 0).output() == Output::open);
  CHECK(world.on(b, 1).runs);
  CHECK(world.on(b, 1).output() == Output::open);
  CHECK(world.guest(1).answers() > answers);
  for (const auto& guest : world.guests) guest->check_register();
  CHECK(world.violation.empty());
}

}  // namespace
}  // namespace understudy::sim
