#include "failover/reprotection.hpp"

#include <catch2/catch.hpp>

#include "config/limits.hpp"

namespace understudy::failover {
namespace {

const NodeId a{1};
const NodeId b{2};
const NodeId c{3};
const std::vector hosts{a, b, c};
const Error lost{ErrorKind::closed, "lost"};

View view_of(std::vector<NodeId> members, std::uint64_t sequence = 1) {
  return {{sequence, a}, Quorum::present, std::move(members), {}};
}

struct Fixture {
  Reprotection reprotection;
  TimePoint at{seconds{1000}};

  void see(const View& view, Duration later = {}) {
    at += later;
    reprotection.look(view, at);
  }
  std::optional<NodeId> due() const { return reprotection.due(hosts, a, at); }
};

TEST_CASE("the first host of the list that has settled is due", "[reprotection]") {
  Fixture f;
  f.see(view_of({a, c}));
  CHECK_FALSE(f.due());
  f.see(view_of({a, c}), limits::reprotect_settle);
  CHECK(f.due() == c);
  f.see(view_of({a, b, c}, 2));
  CHECK(f.due() == c);
  f.see(view_of({a, b, c}, 2), limits::reprotect_settle);
  CHECK(f.due() == b);
}

TEST_CASE("a host that comes back has to settle anew", "[reprotection]") {
  Fixture f;
  f.see(view_of({a, b}));
  f.see(view_of({a, b}), limits::reprotect_settle);
  REQUIRE(f.due() == b);
  SECTION("after a view without it") {
    f.see(view_of({a}, 2));
    f.see(view_of({a, b}, 3));
    CHECK_FALSE(f.due());
  }
  SECTION("after it returned in one step, and only once") {
    auto view = view_of({a, b}, 2);
    view.returned = {b};
    f.see(view);
    CHECK_FALSE(f.due());
    f.see(view, limits::reprotect_settle);
    CHECK(f.due() == b);
  }
  SECTION("after quorum was lost") {
    f.reprotection.look_away();
    CHECK_FALSE(f.due());
    f.see(view_of({a, b}));
    CHECK_FALSE(f.due());
  }
}

TEST_CASE("who has handed the guest over is tried soon", "[reprotection]") {
  Fixture f;
  f.see(view_of({a, b, c}));
  f.reprotection.handed_over_by(c, f.at);
  f.see(view_of({a, b, c}), limits::reprotect_handed_over - milliseconds{1});
  CHECK_FALSE(f.due());
  SECTION("while it is there") {
    f.see(view_of({a, b, c}), milliseconds{1});
    CHECK(f.due() == c);
  }
  SECTION("not once it has left") {
    f.see(view_of({a, b}, 2), milliseconds{1});
    CHECK_FALSE(f.due());
    f.reprotection.handed_over_by(c, f.at);
    f.see(view_of({a, b}, 2), limits::reprotect_handed_over);
    CHECK_FALSE(f.due());
  }
}

TEST_CASE("each failure doubles the rest, another host is tried meanwhile", "[reprotection]") {
  Fixture f;
  f.see(view_of({a, b, c}));
  f.see(view_of({a, b, c}), limits::reprotect_settle);
  Duration rest = limits::reprotect_retry;
  for (int failures = 0; failures < 12; ++failures) {
    f.reprotection.failed(b, lost, f.at);
    CHECK(f.due() == c);
    const auto outlook = f.reprotection.outlook({b}, a, f.at).front();
    CHECK(outlook.wait == rest);
    CHECK(outlook.obstacle == "lost");
    f.see(view_of({a, b, c}), rest);
    CHECK(f.due() == b);
    rest = std::min<Duration>(2 * rest, limits::reprotect_retry_max);
  }
}

TEST_CASE("who refuses is asked rarely", "[reprotection]") {
  Fixture f;
  f.see(view_of({a, b}));
  f.see(view_of({a, b}), limits::reprotect_settle);
  f.reprotection.failed(b, {ErrorKind::incompatible, "another QEMU"}, f.at);
  CHECK(f.reprotection.outlook({b}, a, f.at).front().wait == limits::reprotect_refused);
}

TEST_CASE("only a lasting protection lets failures be forgotten", "[reprotection]") {
  Fixture f;
  const auto view = view_of({a, b});
  f.see(view);
  f.reprotection.failed(b, lost, f.at);
  f.reprotection.protected_by(b, f.at);
  const auto rest_after = [&](Duration later) {
    f.see(view, later);
    f.reprotection.failed(b, lost, f.at);
    return f.reprotection.outlook({b}, a, f.at).front().wait;
  };
  SECTION("a short one does not") {
    CHECK(rest_after(limits::reprotect_stable / 2) == 2 * limits::reprotect_retry);
  }
  SECTION("a long one does") {
    CHECK(rest_after(limits::reprotect_stable) == limits::reprotect_retry);
  }
}

TEST_CASE("a host that cannot be a backup says why", "[reprotection]") {
  Reprotection reprotection{{{b, "the same label"}}};
  reprotection.look(view_of({a, b, c}), TimePoint{});
  const auto outlook = reprotection.outlook(hosts, a, TimePoint{} + limits::reprotect_settle);
  REQUIRE(outlook.size() == 2);
  CHECK(outlook[0].obstacle == "the same label");
  CHECK_FALSE(outlook[0].wait);
  CHECK(reprotection.due(hosts, a, TimePoint{} + limits::reprotect_settle) == c);
}

}  // namespace
}  // namespace understudy::failover
