// What the world outside knows of a guest, from all hosts together: the states that were shown to
// it, and what the guest's clients have asked and been told.
//
// A boot or a promotion begins a new line of history, a promotion at the state that the replica
// holds. What was shown must be part of the history of whatever is shown next; and the clients must
// never find out that there was more than one machine.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "chances.hpp"
#include "config/clock.hpp"
#include "guest_state.hpp"
#include "register_history.hpp"

namespace understudy::sim {

class Outside {
 public:
  /// A fresh boot: its clients know it for another.
  [[nodiscard]] GuestState boot(TimePoint now);
  /// A promotion of this replica.
  [[nodiscard]] GuestState branch(const GuestState& replica, TimePoint now);

  /// Whether all that was shown is part of the history of `point`.
  [[nodiscard]] bool has_seen_no_more_than(Point point) const { return precedes(shown_, point); }

  /// A client's request on its way to the guest. Nothing: none wants anything now.
  [[nodiscard]] std::optional<Request> request(Chances& chances);

  /// A packet has left a host, which has last woken at `woke` from a standstill. It may come late,
  /// when the guest has gone on elsewhere, but not from a host that stood still meanwhile.
  void show(const Packet& packet, TimePoint woke);

  /// Empty: all is well.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }
  /// Looks at all that the clients were told since the last boot.
  void check_register();

  [[nodiscard]] std::uint64_t answers() const { return answers_; }

 private:
  struct Line {
    Point from;
    TimePoint since;
    bool boot{};
  };
  struct Client {
    std::uint32_t number{};
    bool waits{};
    Request request;
    RegisterHistory::Operation operation{};
  };

  [[nodiscard]] bool precedes(Point earlier, Point later) const;
  [[nodiscard]] GuestState on_new_line(GuestState state, const Line& line);
  void complain(const std::string& what) {
    if (complaint_.empty()) complaint_ = what;
  }
  void answer(const Packet& packet);

  std::vector<Line> lines_{{{}, {}, true}};
  Point shown_;  ///< the newest
  std::array<Client, register_clients> clients_{};
  RegisterHistory history_;
  RegisterHistory::Value last_written_{RegisterHistory::initial};
  std::uint64_t answers_{};
  std::string complaint_;
};

}  // namespace understudy::sim
