#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "failover/real_drill.hpp"

namespace understudy::failover::real_drill {
namespace {

using Do = RealDrill::Do;
using Seen = RealDrill::Seen;

const RealDrill::Parties parties{"pg", "a", "b"};
const Seen at_home{.agreed = true, .active = "a", .backup = "b"};
const Seen away_alone{.agreed = true, .active = "b", .backup = ""};
const Seen away{.agreed = true, .active = "b", .backup = "a"};
const Seen home_alone{.agreed = true, .active = "a", .backup = ""};
constexpr TimePoint begin{std::chrono::hours{1}};
const Result<> done{};

tl::unexpected<Error> broken(const std::string& why) {
  return fail(ErrorKind::unavailable, "{}", why);
}

/// Its first questions are answered and it has moved.
RealDrill moved_away() {
  RealDrill drill{parties, RealDrill::Probes::asked};
  REQUIRE(drill.look(at_home, begin) == Do::probe);
  drill.probed(done);
  REQUIRE(drill.look(at_home, begin) == Do::move_away);
  drill.moved(done);
  REQUIRE(drill.look(away_alone, begin) == Do::probe);
  return drill;
}

RealDrill protected_away() {
  auto drill = moved_away();
  drill.probed(done);
  REQUIRE(drill.look(away_alone, begin) == Do::nothing);
  REQUIRE(drill.look(away, begin) == Do::nothing);
  REQUIRE(drill.look(away, begin) == Do::move_home);
  return drill;
}

std::string failure(const RealDrill& drill, const Seen& seen) {
  const auto outcome = drill.outcome(seen);
  REQUIRE_FALSE(outcome);
  return outcome.error().message;
}

}  // namespace

TEST_CASE("a real drill goes to the backup and home, and says each thing once") {
  auto drill = protected_away();
  CHECK(drill.look(away, begin) == Do::nothing);
  drill.moved(done);
  CHECK(drill.look(home_alone, begin) == Do::probe);
  CHECK(drill.look(home_alone, begin) == Do::nothing);
  drill.probed(done);
  CHECK(drill.look(home_alone, begin) == Do::nothing);
  CHECK(drill.look(home_alone, begin) == Do::nothing);
  CHECK_FALSE(drill.ended());
  CHECK(drill.look(at_home, begin) == Do::end);
  CHECK(drill.outcome(at_home));
}

TEST_CASE("a real drill that cannot ask moves the guest all the same") {
  RealDrill drill{parties, RealDrill::Probes::skipped};
  CHECK(drill.look(at_home, begin) == Do::move_away);
  drill.moved(done);
  CHECK(drill.look(away_alone, begin) == Do::nothing);
  CHECK(drill.look(away, begin) == Do::nothing);
  CHECK(drill.look(away, begin) == Do::move_home);
  drill.moved(done);
  CHECK(drill.look(home_alone, begin) == Do::nothing);
  CHECK(drill.look(at_home, begin) == Do::end);
  CHECK(drill.outcome(at_home));
}

TEST_CASE("a guest that does not answer before a real drill is not moved") {
  RealDrill drill{parties, RealDrill::Probes::asked};
  CHECK(drill.look(at_home, begin) == Do::probe);
  drill.probed(broken("probe tcp 5432: refused"));
  CHECK(drill.look(at_home, begin) == Do::end);
  CHECK(failure(drill, at_home) ==
        "probe tcp 5432: refused, before anything was done. Now guest pg runs at home, on host a, "
        "protected to b");
}

TEST_CASE("a guest that does not answer on its backup is brought home, and the drill has failed") {
  auto drill = moved_away();
  drill.probed(broken("probe tcp 5432: refused"));
  CHECK(drill.look(away, begin) == Do::nothing);
  CHECK(drill.look(away, begin) == Do::nothing);
  CHECK(drill.look(away, begin) == Do::move_home);
  drill.moved(done);
  CHECK(drill.look(home_alone, begin) == Do::probe);
  drill.probed(done);
  CHECK(drill.look(at_home, begin) == Do::nothing);
  CHECK(drill.look(at_home, begin) == Do::end);
  CHECK(failure(drill, at_home) ==
        "on host b: probe tcp 5432: refused. Now guest pg runs at home, on host a, protected to b");
}

TEST_CASE("a real drill that cannot go on says where the guest is and what to do") {
  SECTION("the first switchover is refused") {
    RealDrill drill{parties, RealDrill::Probes::skipped};
    CHECK(drill.look(at_home, begin) == Do::move_away);
    drill.moved(broken("the link is slow"));
    CHECK(drill.look(at_home, begin) == Do::end);
    CHECK(failure(drill, at_home) ==
          "the switchover to host b failed: the link is slow. Now guest pg runs at home, on host "
          "a, protected to b");
  }
  SECTION("the way back is refused") {
    auto drill = protected_away();
    drill.moved(broken("no"));
    CHECK(drill.look(away, begin) == Do::end);
    CHECK(failure(drill, away) ==
          "the switchover to host a failed: no. Now guest pg runs on host b, not at home, "
          "protected to a. To bring it home: `understudy switchover pg` on host b");
  }
  SECTION("an answer is lost, and the record tells") {
    auto drill = protected_away();
    const auto later = begin + limits::real_drill_move;
    CHECK(drill.look(home_alone, later - milliseconds{1}) == Do::nothing);
    CHECK(drill.look(home_alone, later) == Do::nothing);
    CHECK(drill.look(home_alone, later) == Do::probe);
  }
  SECTION("an answer never comes") {
    auto drill = protected_away();
    CHECK(drill.look(away, begin + limits::real_drill_move) == Do::end);
    CHECK(failure(drill, away).find("not answered in time") != std::string::npos);
  }
  SECTION("it is lost with the backup") {
    auto drill = moved_away();
    drill.probed(done);
    const Seen nowhere{.agreed = true, .active = "", .backup = ""};
    CHECK(drill.look(away_alone, begin) == Do::nothing);
    CHECK(drill.look(nowhere, begin) == Do::end);
    CHECK(failure(drill, nowhere)
              .find("runs nowhere: `understudy status`, then `understudy start "
                    "pg`") != std::string::npos);
  }
  SECTION("another host becomes its backup") {
    auto drill = moved_away();
    drill.probed(done);
    const Seen elsewhere{.agreed = true, .active = "b", .backup = "c"};
    CHECK(drill.look(away_alone, begin) == Do::nothing);
    CHECK(drill.look(elsewhere, begin) == Do::end);
    CHECK(failure(drill, elsewhere) ==
          "it was protected to host c instead. Now guest pg runs on host b, not at home, protected "
          "to c. To bring it home: `understudy switchover pg` on host b, once `understudy status` "
          "there says PROTECTED to a");
  }
  SECTION("without quorum it says that it does not know") {
    auto drill = moved_away();
    drill.give_up("stopped");
    auto seen = away_alone;
    seen.agreed = false;
    CHECK(failure(drill, seen)
              .starts_with("stopped. By what this host knew last, for it has no quorum, guest pg "
                           "runs on host b"));
  }
}

TEST_CASE("a real drill waits for a copy as long as it gets on") {
  auto drill = moved_away();
  drill.probed(done);
  auto seen = away_alone;
  auto at = begin;
  CHECK(drill.look(seen, at) == Do::nothing);
  for (const double copied : {0.1, 0.2, 0.3}) {
    at += limits::real_drill_patience;
    seen.copied = copied;
    CHECK(drill.look(seen, at) == Do::nothing);
  }
  seen.obstacle = "host a is drained";
  CHECK(drill.look(seen, at + limits::real_drill_patience) == Do::nothing);
  CHECK(drill.look(seen, at + limits::real_drill_patience + milliseconds{1}) == Do::end);
  CHECK(failure(drill, seen)
            .starts_with("it was not protected to host a in time: host a is drained. Now guest pg "
                         "runs on host b"));

  auto endless = moved_away();
  endless.probed(done);
  CHECK(endless.look(away_alone, begin) == Do::nothing);
  bool ended = false;
  for (at = begin; !ended && at < begin + 2 * limits::real_drill_copy; at += milliseconds{60'000}) {
    seen.copied = seen.copied > 0.5 ? 0 : seen.copied + 0.1;
    ended = endless.look(seen, at) == Do::end;
  }
  CHECK(ended);
  CHECK(at > begin + limits::real_drill_copy);
}

TEST_CASE("however much a probe says, a real drill's failure ends with where the guest is") {
  auto drill = moved_away();
  drill.probed(broken(std::string(10'000, 'x')));
  drill.give_up("stopped");
  const auto told = failure(drill, away);
  CHECK(told.size() < limits::probe_text_bytes);
  CHECK(told.ends_with("`understudy switchover pg` on host b"));
}

TEST_CASE("a guest is given to its backup alone, and by no old request") {
  const NodeId a{1};
  const NodeId b{2};
  const NodeId c{3};
  const Record record{.term = Term{7}, .active = a, .backup = b, .keep_on = {}, .home = a};
  peer::SwitchOverRequest request;
  request.set_guest("pg");
  request.set_term(7);
  CHECK(may_have(record, a, b, request));
  CHECK_FALSE(may_have(record, a, c, request));
  CHECK_FALSE(may_have(record, a, a, request));
  CHECK_FALSE(may_have(record, b, b, request));
  request.set_term(6);
  CHECK_FALSE(may_have(record, a, b, request));
}

TEST_CASE("a real drill begins only where its end can be reached") {
  const std::vector<std::string> both{"a", "b"};
  const auto refused = [](const std::string& here, const Seen& seen,
                          const std::vector<std::string>& keep_on) {
    const auto plan = RealDrill::plan("pg", here, seen, keep_on);
    REQUIRE_FALSE(plan);
    return plan.error().message;
  };
  const auto plan = RealDrill::plan("pg", "a", at_home, both);
  REQUIRE(plan);
  CHECK(plan->home == "a");
  CHECK(plan->away == "b");
  CHECK(RealDrill::plan("pg", "a", at_home, {"b", "a", "c"}));

  CHECK(refused("b", at_home, both) == "guest pg runs on host a; give the command there");
  CHECK(refused("a", {.agreed = true, .active = "", .backup = ""}, both) ==
        "guest pg does not run");
  CHECK(refused("a", home_alone, both).find("no backup that could take over") != std::string::npos);
  CHECK(refused("a", at_home, {}).find("could not come back") != std::string::npos);
  CHECK(refused("a", at_home, {"b", "c", "a"}).find("protected to host c first") !=
        std::string::npos);
  auto unknown = at_home;
  unknown.agreed = false;
  CHECK(refused("a", unknown, both).find("not agreed") != std::string::npos);
}

}  // namespace understudy::failover::real_drill
