// Protection of a guest in memory, over a real session on loopback.
#include <numeric>

#include <catch2/catch.hpp>

#include "world.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

std::vector<int> first_packets(std::size_t count) {
  std::vector<int> packets(count);
  std::iota(packets.begin(), packets.end(), 0);
  return packets;
}

/// Its name, for each block that differs.
std::vector<std::string> altered(const VerifyVerdict& verdict) {
  std::vector<std::string> names;
  for (const auto& block : verdict.blocks)
    if (!block.identical) names.push_back(block.name);
  return names;
}

constexpr World::Pace lazy{10'000, 2};

/// The primary waits for its interval: nothing asks for a commit.
bool waits_long(World& world) {
  const auto until = world.primary->act();
  return until && *until > now() + seconds{5};
}

}  // namespace

TEST_CASE("after many epochs the replica is the guest, byte for byte") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    INFO("seed " << seed);
    World world{seed};
    world.machine.while_harvested = [&] {
      if (world.packets % 7 == 0) world.machine.run(1);  // while pre-copy looks
    };
    REQUIRE(world.protect());
    REQUIRE(world.run_until([&] { return world.gate.sealed() >= Epoch{60}; }));
    world.machine.while_harvested = nullptr;
    REQUIRE(world.settle());
    CHECK(world.first_commits() == 1);
    CHECK(world.primary->status().epochs.pause_us.count >= 60);
    REQUIRE(world.replica_is_equal());
  }
}

TEST_CASE("output leaves in order, all of it, and never before the backup holds its epoch") {
  World world{4};
  REQUIRE(world.protect());
  CHECK(world.gate.holding());
  REQUIRE(world.run_until([&] { return world.gate.sealed() >= Epoch{100}; }, 3));
  REQUIRE(world.settle());
  CHECK(world.gate.in_order());
  CHECK(world.gate.left() == first_packets(static_cast<std::size_t>(world.packets)));
}

TEST_CASE("nothing leaves while the backup does not answer") {
  World world{5};
  REQUIRE(world.protect());
  REQUIRE(world.settle());
  const auto before = world.gate.left();
  world.backup.replica().block();
  const auto stalled = [&] { return world.packets > 0 && world.primary->stalled(); };
  REQUIRE(world.run_until(stalled));
  CHECK(world.gate.left() == before);
}

TEST_CASE("a slow backup stalls the guest, and nothing is lost") {
  World world{6};
  REQUIRE(world.protect());
  for (int round = 0; round < 5; ++round) {
    REQUIRE(world.run_until([&] { return world.primary->status().committed > Epoch{3}; }));
    world.backup.replica().block();
    REQUIRE(world.run_until([&] { return world.primary->stalled(); }));
    CHECK_FALSE(world.machine.running());
    const auto status = world.primary->status();
    CHECK(status.throttled);
    CHECK(world.gate.sealed().value() - status.committed.value() == 3);
    world.backup.replica().unblock();
    REQUIRE(world.run_until([&] { return world.machine.running(); }));
  }
  REQUIRE(world.settle());
  CHECK(world.gate.in_order());
  CHECK(world.gate.left() == first_packets(static_cast<std::size_t>(world.packets)));
  CHECK(world.replica_is_equal());
}

TEST_CASE("the end of protection resumes a stalled guest") {
  World world{7};
  REQUIRE(world.protect());
  world.backup.replica().block();
  REQUIRE(world.run_until([&] { return world.primary->stalled(); }));
  REQUIRE(world.primary->end("the test says so"));
  CHECK(world.machine.running());
  CHECK_FALSE(world.primary->stalled());
}

TEST_CASE("a lost session resumes a stalled guest and keeps its output") {
  World world{8};
  REQUIRE(world.protect());
  world.backup.replica().block();
  REQUIRE(world.run_until([&] { return world.primary->stalled(); }));
  world.backup.replica().unblock();
  world.backup.end_session();
  REQUIRE(world.run_until([&] { return !world.lost().empty() && world.machine.running(); }, 0));
  const auto left = world.gate.left();
  REQUIRE(world.step());
  CHECK(world.gate.holding());
  CHECK(world.gate.left() == left);
}

// Before, such a guest stayed paused until the session was given up.
TEST_CASE("a link that breaks after the guest was stalled for it lets the guest run on") {
  World world{9};
  REQUIRE(world.protect());
  world.backup.replica().block();
  REQUIRE(world.run_until([&] { return world.primary->stalled(); }));
  world.relay.retarget({"127.0.0.1", 1});
  REQUIRE(world.run_until([&] { return world.machine.running(); }, 0));
  CHECK_FALSE(world.primary->status().link_up);
  REQUIRE(world.step());
  CHECK(world.machine.running());

  world.backup.replica().unblock();
  world.relay.retarget(world.backup.endpoint());
  REQUIRE(world.run_until([&] { return world.primary->status().link_up; }));
  REQUIRE(world.settle());
  CHECK(world.gate.in_order());
  CHECK(world.replica_is_equal());
}

TEST_CASE("a link that is cut again and again loses nothing") {
  World world{10};
  REQUIRE(world.protect());
  for (int round = 0; round < 4; ++round) {
    world.relay.cut();
    // More than may be in flight: some of it must go over the next link.
    const auto target = Epoch{world.gate.sealed().value() + 5};
    REQUIRE(world.run_until([&] { return world.primary->status().committed >= target; }));
  }
  REQUIRE(world.settle());
  CHECK(world.gate.in_order());
  CHECK(world.gate.left() == first_packets(static_cast<std::size_t>(world.packets)));
  CHECK(world.replica_is_equal());
}

TEST_CASE("a replica that is the guest is found identical") {
  World world{11};
  REQUIRE(world.protect());
  REQUIRE(world.run_until([&] { return world.gate.sealed() >= Epoch{10}; }));
  const auto verdict = world.verify();
  REQUIRE(verdict);
  CHECK(verdict->epoch == world.gate.sealed());
  REQUIRE(verdict->blocks.size() == 4);
  CHECK(verdict->blocks[0].name == "pc.ram");
  CHECK(verdict->blocks[0].bytes == 200 * page_bytes);
  CHECK(verdict->blocks[3].name == "device state");
  CHECK(altered(*verdict).empty());
  CHECK(world.machine.running());
  REQUIRE(world.settle());
  CHECK(world.replica_is_equal());
}

TEST_CASE("a page that was altered unseen is found, in its block") {
  World world{12};
  REQUIRE(world.protect());
  REQUIRE(world.settle());
  world.machine.write_unseen(150);
  const auto first = world.verify();
  REQUIRE(first);
  CHECK(altered(*first) == std::vector<std::string>{"pc.ram"});
  world.machine.write_unseen(150);
  world.machine.write_unseen(205);
  const auto second = world.verify();
  REQUIRE(second);
  CHECK(altered(*second) == std::vector<std::string>{"pc.bios"});
}

// Before, the guest stayed paused for up to a minute.
TEST_CASE("a link that breaks while the guest is compared lets the guest run on") {
  World world{13};
  REQUIRE(world.protect());
  REQUIRE(world.settle());
  world.machine.while_compared = [&] {
    world.backup.replica().block();
    world.relay.retarget({"127.0.0.1", 1});
  };
  world.backup.replica().block();
  const auto verdict = world.verify();
  REQUIRE_FALSE(verdict);
  CHECK(verdict.error().kind == ErrorKind::unavailable);
  CHECK(world.machine.running());

  world.backup.replica().unblock();
  world.relay.retarget(world.backup.endpoint());
  REQUIRE(world.run_until([&] { return world.primary->status().link_up; }));
  REQUIRE(world.settle());
  CHECK(world.replica_is_equal());
}

TEST_CASE("a request that interrupts ends a comparison, and protection goes on") {
  World world{14};
  REQUIRE(world.protect());
  REQUIRE(world.settle());
  world.backup.replica().block();
  world.machine.while_compared = [&] { world.cancel(true); };
  const auto verdict = world.verify();
  REQUIRE_FALSE(verdict);
  CHECK(verdict.error().kind == ErrorKind::closed);
  CHECK(world.machine.running());
  world.cancel(false);
  world.backup.replica().unblock();
  REQUIRE(world.settle());
  CHECK(world.replica_is_equal());
}

// Before, the epoch was begun anew, and the guest stayed paused until then.
TEST_CASE("a comparison whose capture fails ends protection") {
  World world{15, lazy};
  REQUIRE(world.protect());
  world.machine.save_fails = true;
  REQUIRE_FALSE(world.verify());
  world.machine.save_fails = false;
  const auto next = world.primary->act();
  REQUIRE_FALSE(next);
  CHECK(next.error().kind == ErrorKind::io);
}

TEST_CASE("without output an epoch lasts its interval; output asks for a commit sooner") {
  World world{16, lazy};
  REQUIRE(world.protect());
  CHECK(waits_long(world));
  world.primary->output_waits(Epoch{1}, now());
  REQUIRE(world.run_until([&] { return world.gate.sealed() == Epoch{2}; }, 0));
  CHECK(waits_long(world));
}

TEST_CASE("output that fills its room cuts its epoch short, and no other") {
  World world{19, lazy};
  REQUIRE(world.protect());
  world.primary->output_presses(Epoch{});   // of an epoch that is sealed
  world.primary->output_presses(Epoch{7});  // of another protection
  CHECK(waits_long(world));
  world.primary->output_presses(Epoch{1});
  REQUIRE(world.run_until([&] { return world.gate.sealed() == Epoch{2}; }, 0));
  CHECK(waits_long(world));
}

// Before, such news made the next epoch as short as can be.
TEST_CASE("news of output in an epoch that is being sealed does not shorten the next") {
  World world{17, lazy};
  REQUIRE(world.protect());
  world.gate.while_sealed = [&](Epoch epoch) {
    world.primary->output_waits(Epoch{epoch.value() - 1}, now());
  };
  world.primary->output_waits(Epoch{1}, now());
  REQUIRE(world.run_until([&] { return world.gate.sealed() == Epoch{2}; }, 0));
  CHECK(waits_long(world));
}

TEST_CASE("news of the epoch after the one that is being sealed is not forgotten") {
  World world{18, lazy};
  REQUIRE(world.protect());
  world.gate.while_sealed = [&](Epoch epoch) {
    if (epoch == Epoch{2}) world.primary->output_waits(epoch, now());
  };
  world.primary->output_waits(Epoch{1}, now());
  REQUIRE(world.run_until([&] { return world.gate.sealed() == Epoch{3}; }, 0));
}

TEST_CASE("news from an earlier protection of the guest is none") {
  World world{19, lazy};
  REQUIRE(world.protect());
  for (const auto epoch : {Epoch{0}, Epoch{3}, Epoch{57}}) {
    world.primary->output_waits(epoch, now());
    CHECK(waits_long(world));
  }
}

TEST_CASE("a full synchronisation can be ended") {
  World world{20, {4, 2}, 4000};
  for (std::uint64_t page = 0; page < 3000; ++page) world.machine.fill(page, std::byte{1});
  REQUIRE(world.open());
  world.cancel(true);
  const auto synchronised = world.primary->synchronise();
  REQUIRE_FALSE(synchronised);
  CHECK(synchronised.error().kind == ErrorKind::closed);
  CHECK(world.machine.running());
  CHECK_FALSE(world.gate.holding());
}

TEST_CASE("a backup that refuses says why") {
  World world{21};
  const auto opened = world.open("other");
  REQUIRE_FALSE(opened);
  CHECK(opened.error().kind == ErrorKind::incompatible);
  CHECK_THAT(opened.error().message, Catch::Contains("not this guest"));
}

TEST_CASE("a backup that had the guest before gets what has changed, and becomes the guest") {
  World world{11};
  world.machine.run(300);
  world.remember_at_backup();
  world.machine.run(20);
  REQUIRE(world.open());
  REQUIRE(world.primary->synchronise());
  CHECK(world.backup.replica().asked() >= 2);
  CHECK(world.primary->status().link.sent_bytes < 60 * page_bytes);
  REQUIRE(world.run_until([&] { return world.gate.sealed() >= Epoch{20}; }));
  REQUIRE(world.settle());
  REQUIRE(world.replica_is_equal());
}
