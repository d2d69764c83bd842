#include "register_history.hpp"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

using understudy::sim::RegisterHistory;

namespace {

void write(RegisterHistory& history, RegisterHistory::Value value) {
  history.write_ends(history.write_begins(value));
}
void read(RegisterHistory& history, RegisterHistory::Value value) {
  history.read_ends(history.read_begins(), value);
}

}  // namespace

TEST_CASE("what one register can have told is linearizable") {
  RegisterHistory history;
  read(history, RegisterHistory::initial);
  write(history, 1);
  read(history, 1);
  const auto slow = history.read_begins();
  const auto lost = history.write_begins(2);  // its client was never told
  read(history, 1);
  read(history, 2);
  write(history, 3);
  history.read_ends(slow, 1);
  static_cast<void>(history.write_begins(4));
  read(history, 3);
  CHECK(history.complaint().empty());
  history.write_ends(lost);
  CHECK(history.complaint().empty());
}

TEST_CASE("what no register can have told is not") {
  RegisterHistory history;
  write(history, 1);
  SECTION("an acknowledged write is lost") {
    write(history, 2);
    read(history, 1);
  }
  SECTION("a read goes back") {
    const auto concurrent = history.write_begins(2);
    read(history, 2);
    read(history, 1);
    history.write_ends(concurrent);
  }
  SECTION("the initial value comes back") {
    read(history, RegisterHistory::initial);
  }
  SECTION("nobody wrote it") {
    read(history, 7);
  }
  SECTION("it is read before it is written") {
    read(history, 2);
    write(history, 2);
  }
  SECTION("a write that was never acknowledged takes effect twice") {
    static_cast<void>(history.write_begins(2));
    read(history, 2);
    write(history, 3);
    read(history, 2);
  }
  CHECK_FALSE(history.complaint().empty());
}

namespace {

struct Call {
  bool writes;
  int begun;
  int ended;
  RegisterHistory::Value value;
};

/// All orders that time allows, one after another.
bool some_order_fits(const std::vector<Call>& calls, std::vector<bool>& done,
                     RegisterHistory::Value value) {
  if (std::ranges::all_of(done, [](bool one) { return one; })) return true;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (done[i] || (!calls[i].writes && calls[i].value != value)) continue;
    bool is_next = true;
    for (std::size_t j = 0; j < calls.size(); ++j)
      is_next = is_next && (done[j] || calls[j].ended >= calls[i].begun);
    if (!is_next) continue;
    done[i] = true;
    if (some_order_fits(calls, done, calls[i].writes ? calls[i].value : value)) return true;
    done[i] = false;
  }
  return false;
}

}  // namespace

TEST_CASE("it decides as one that tries all orders does") {
  constexpr int operations = 6;
  std::array<int, 2> verdicts{};
  for (std::uint32_t seed = 1; seed <= 3000; ++seed) {
    std::mt19937 random{seed};
    std::vector<int> moments(2 * operations);
    for (int i = 0; i < 2 * operations; ++i) moments[static_cast<std::size_t>(i)] = i / 2;
    std::shuffle(moments.begin(), moments.end(), random);
    RegisterHistory history;
    std::vector<Call> calls(operations, Call{false, -1, -1, 0});
    std::array<RegisterHistory::Operation, operations> names{};
    for (int at = 0; at < 2 * operations; ++at) {
      const auto i = static_cast<std::size_t>(moments[static_cast<std::size_t>(at)]);
      auto& call = calls[i];
      if (call.begun < 0) {
        call = {i % 2 == 0, at, -1, static_cast<RegisterHistory::Value>(i + 1)};
        names[i] = call.writes ? history.write_begins(call.value) : history.read_begins();
        continue;
      }
      call.ended = at;
      if (call.writes) {
        history.write_ends(names[i]);
      } else {
        constexpr std::array<RegisterHistory::Value, 4> values{0, 1, 3, 5};
        call.value = values[random() % values.size()];
        history.read_ends(names[i], call.value);
      }
    }
    INFO("seed " << seed);
    std::vector<bool> done(calls.size());
    const bool fits = some_order_fits(calls, done, RegisterHistory::initial);
    CHECK(history.complaint().empty() == fits);
    ++verdicts.at(fits ? 1 : 0);
  }
  CHECK(std::ranges::min(verdicts) > 100);
}
