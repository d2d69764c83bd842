#include "failover/view_assembler.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::failover;

namespace {

using Cause = GroupChange::Cause;

std::vector<NodeId> nodes(std::initializer_list<std::uint32_t> ids) {
  std::vector<NodeId> list;
  for (const auto id : ids) list.emplace_back(id);
  return list;
}

/// Members whose process number is a hundred times their node's.
std::vector<GroupMember> group(std::initializer_list<std::uint32_t> ids) {
  std::vector<GroupMember> list;
  for (const auto id : ids) list.push_back({NodeId{id}, id * 100});
  return list;
}

RingId ring(std::uint64_t sequence, std::uint32_t representative = 1) {
  return {sequence, NodeId{representative}};
}

/// An assembler that has given out the view {1, 2, 3}, quorate, in ring 8.
ViewAssembler settled() {
  ViewAssembler assembler;
  CHECK_FALSE(assembler.group_changed({group({3, 1, 2}), {}, Cause::process}));
  CHECK_FALSE(assembler.group_ring(ring(8)));
  CHECK(assembler.quorum_changed(ring(8), Quorum::present) ==
        View{ring(8), Quorum::present, nodes({1, 2, 3}), {}});
  return assembler;
}

}  // namespace

TEST_CASE("a member is looked up, a ring is printed as corosync does") {
  const View view{ring(0x2f, 0x1a), Quorum::present, nodes({1, 3}), {}};
  CHECK(view.has(NodeId{3}));
  CHECK_FALSE(view.has(NodeId{2}));
  CHECK(to_string(view.ring) == "1a.2f");
}

TEST_CASE("the first view comes when group, ring and quorum are all known, in any order") {
  std::array<int, 3> order{0, 1, 2};
  do {
    ViewAssembler assembler;
    std::vector<View> views;
    for (const int step : order) {
      std::optional<View> view;
      if (step == 0) view = assembler.group_changed({group({2}), {}, Cause::process});
      if (step == 1) view = assembler.group_ring(ring(4, 2));
      if (step == 2) view = assembler.quorum_changed(ring(4, 2), Quorum::absent);
      if (view) views.push_back(*view);
    }
    REQUIRE(views.size() == 1);
    CHECK(views[0] == View{ring(4, 2), Quorum::absent, nodes({2}), {}});
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("a node's loss gives one view, however group and quorum interleave") {
  // Quorum's only word may come before, between or after the group's two.
  for (int quorum_at = 0; quorum_at < 3; ++quorum_at) {
    auto assembler = settled();
    std::vector<View> views;
    const auto note = [&](const std::optional<View>& view) {
      if (view) views.push_back(*view);
    };
    for (int step = 0; step < 3; ++step) {
      if (step == quorum_at) note(assembler.quorum_changed(ring(12), Quorum::present));
      if (step == 0) note(assembler.group_changed({group({1, 2}), group({3}), Cause::node}));
      if (step == 1) note(assembler.group_ring(ring(12)));
    }
    REQUIRE(views.size() == 1);
    CHECK(views[0] == View{ring(12), Quorum::present, nodes({1, 2}), {}});
  }
}

TEST_CASE("the members of a new ring never meet the quorum of the old one") {
  auto assembler = settled();
  CHECK_FALSE(assembler.group_changed({group({1}), group({2, 3}), Cause::node}));
  CHECK_FALSE(assembler.quorum_changed(ring(8), Quorum::present));
  CHECK_FALSE(assembler.group_ring(ring(12)));
  CHECK(assembler.quorum_changed(ring(12), Quorum::absent)->quorum == Quorum::absent);
}

TEST_CASE("equal sequences of the two halves of a split are different rings") {
  auto assembler = settled();
  CHECK_FALSE(assembler.group_changed({group({1}), group({2, 3}), Cause::node}));
  CHECK_FALSE(assembler.group_ring(ring(12, 1)));
  CHECK_FALSE(assembler.quorum_changed(ring(12, 2), Quorum::present));
}

TEST_CASE("a ring may change without any change of members") {
  auto assembler = settled();
  CHECK_FALSE(assembler.group_ring(ring(12)));
  const auto view = assembler.quorum_changed(ring(12), Quorum::present);
  CHECK(view == View{ring(12), Quorum::present, nodes({1, 2, 3}), {}});
}

TEST_CASE("within a ring processes come and go, and quorum changes") {
  auto assembler = settled();
  const auto without = assembler.group_changed({group({1, 3}), group({2}), Cause::process});
  CHECK(without == View{ring(8), Quorum::present, nodes({1, 3}), {}});
  const auto again = assembler.group_changed({group({1, 2, 3}), {}, Cause::process});
  CHECK(again == View{ring(8), Quorum::present, nodes({1, 2, 3}), {}});
  CHECK(assembler.quorum_changed(ring(8), Quorum::absent)->quorum == Quorum::absent);
  CHECK_FALSE(assembler.quorum_changed(ring(8), Quorum::absent));
}

TEST_CASE("who was evicted and merged again in one step has returned") {
  auto assembler = settled();
  CHECK_FALSE(assembler.group_changed({group({1, 2}), group({3}), Cause::node}));
  CHECK_FALSE(assembler.group_changed({group({1, 2, 3}), {}, Cause::node}));
  CHECK_FALSE(assembler.group_ring(ring(16)));
  const auto view = assembler.quorum_changed(ring(16), Quorum::present);
  CHECK(view == View{ring(16), Quorum::present, nodes({1, 2, 3}), nodes({3})});
  CHECK(assembler.quorum_changed(ring(16), Quorum::absent)->returned.empty());
}

TEST_CASE("who was never in a view cannot return to it") {
  ViewAssembler assembler;
  CHECK_FALSE(assembler.group_changed({group({1, 2}), {}, Cause::process}));
  CHECK_FALSE(assembler.group_changed({group({1}), group({2}), Cause::process}));
  CHECK_FALSE(assembler.group_changed({group({1, 2}), {}, Cause::process}));
  CHECK_FALSE(assembler.group_ring(ring(8)));
  CHECK(assembler.quorum_changed(ring(8), Quorum::present)->returned.empty());
}

TEST_CASE("a daemon that was restarted has returned, reported or not") {
  auto assembler = settled();
  std::vector<GroupMember> restarted{{NodeId{1}, 100}, {NodeId{2}, 777}, {NodeId{3}, 300}};
  SECTION("joined before the old process left") {
    auto both = restarted;
    both.push_back({NodeId{2}, 200});
    CHECK_FALSE(assembler.group_changed({both, {}, Cause::process}));
    const auto view = assembler.group_changed({restarted, group({2}), Cause::process});
    CHECK(view->members == nodes({1, 2, 3}));
    CHECK(view->returned == nodes({2}));
  }
  SECTION("only seen by its process") {
    const auto view = assembler.group_changed({restarted, {}, Cause::process});
    CHECK(view->returned == nodes({2}));
  }
}

TEST_CASE("two rings in a row, the first never agreed upon, give one view") {
  auto assembler = settled();
  CHECK_FALSE(assembler.group_changed({group({1, 2}), group({3}), Cause::node}));
  CHECK_FALSE(assembler.group_ring(ring(12)));
  CHECK(assembler.group_ahead());
  CHECK_FALSE(assembler.quorum_changed(ring(16), Quorum::present));
  CHECK_FALSE(assembler.group_ahead());
  CHECK_FALSE(assembler.group_changed({group({1, 2, 3}), {}, Cause::node}));
  CHECK(assembler.group_ring(ring(16))->returned == nodes({3}));
}

TEST_CASE("the group is ahead only between its ring and quorum's") {
  ViewAssembler assembler;
  CHECK_FALSE(assembler.group_ahead());
  CHECK_FALSE(assembler.group_ring(ring(8)));
  CHECK(assembler.group_ahead());
  CHECK_FALSE(assembler.quorum_changed(ring(8), Quorum::present));
  CHECK_FALSE(assembler.group_ahead());
  CHECK_FALSE(assembler.quorum_changed(ring(12), Quorum::present));
  CHECK_FALSE(assembler.group_ahead());  // its own news will come on the group's connection
  CHECK_FALSE(assembler.group_changed({group({1}), {}, Cause::node}));
  CHECK_FALSE(assembler.group_ahead());
}

TEST_CASE("after a reset nothing of before is left") {
  auto assembler = settled();
  assembler.reset();
  CHECK_FALSE(assembler.quorum_changed(ring(8), Quorum::present));
  CHECK_FALSE(assembler.group_ring(ring(8)));
  const auto view = assembler.group_changed({group({1, 2}), {}, Cause::process});
  CHECK(view == View{ring(8), Quorum::present, nodes({1, 2}), {}});
}

namespace {

/// Corosync as seen by node 1: rings in a row, told on two connections that keep their own order.
struct Story {
  struct Told {
    std::optional<GroupChange> change;
    std::optional<RingId> ring;
  };
  struct Truth {
    std::vector<NodeId> members;
    Quorum quorum{};
  };
  std::vector<Told> group;
  std::vector<std::pair<RingId, Quorum>> quorum;
  std::map<std::uint64_t, Truth> truth;  ///< by the ring's sequence
};

Story invent(std::mt19937_64& random) {
  Story story;
  std::set<std::uint32_t> here{1};
  const auto list = [](const std::set<std::uint32_t>& ids) {
    std::vector<GroupMember> members;
    for (const auto id : ids) members.push_back({NodeId{id}, id * 100});
    return members;
  };
  story.group.push_back({GroupChange{list(here), {}, Cause::process}, {}});
  for (std::uint64_t sequence = 4; sequence < 64; sequence += 4) {
    std::set<std::uint32_t> left;
    for (std::uint32_t id = 2; id <= 4; ++id) {
      if (random() % 3 == 0 && here.erase(id) > 0) left.insert(id);
    }
    if (!left.empty())
      story.group.push_back({GroupChange{list(here), list(left), Cause::node}, {}});
    const auto before = here.size();
    for (std::uint32_t id = 2; id <= 4; ++id) {
      if (random() % 3 == 0) here.insert(id);
    }
    if (here.size() > before) story.group.push_back({GroupChange{list(here), {}, Cause::node}, {}});
    story.group.push_back({{}, ring(sequence)});
    const auto quorum = here.size() >= 3 ? Quorum::present : Quorum::absent;
    auto& truth = story.truth[sequence];
    for (const auto id : here) truth.members.emplace_back(id);
    truth.quorum = quorum;
    if (random() % 4 != 0 || sequence + 4 >= 64) story.quorum.emplace_back(ring(sequence), quorum);
  }
  return story;
}

}  // namespace

TEST_CASE("however the two connections interleave, every view is true of its ring") {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    std::mt19937_64 random{seed};
    const auto story = invent(random);
    ViewAssembler assembler;
    std::vector<View> views;
    std::size_t group_at = 0;
    std::size_t quorum_at = 0;
    while (group_at < story.group.size() || quorum_at < story.quorum.size()) {
      const bool group_can = group_at < story.group.size() && !assembler.group_ahead();
      const bool quorum_can = quorum_at < story.quorum.size();
      REQUIRE((group_can || quorum_can));  // never stuck
      std::optional<View> view;
      if (group_can && (!quorum_can || random() % 2 == 0)) {
        const auto& told = story.group[group_at++];
        view =
            told.change ? assembler.group_changed(*told.change) : assembler.group_ring(*told.ring);
      } else {
        const auto& [which, quorum] = story.quorum[quorum_at++];
        view = assembler.quorum_changed(which, quorum);
      }
      if (view) views.push_back(*view);
    }
    INFO("seed " << seed);
    REQUIRE_FALSE(views.empty());
    for (const auto& view : views) {
      const auto& truth = story.truth.at(view.ring.sequence);
      REQUIRE(view.members == truth.members);
      REQUIRE(view.quorum == truth.quorum);
    }
    REQUIRE(std::is_sorted(views.begin(), views.end(), [](const auto& a, const auto& b) {
      return a.ring.sequence < b.ring.sequence;
    }));
    REQUIRE(views.back().ring == ring(60));
  }
}
