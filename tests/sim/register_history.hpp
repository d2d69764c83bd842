// What the clients of a register have asked and been told, and whether one register could have told
// them all that: linearizability (Herlihy and Wing, 1990). No value is written twice, so that it
// can be decided exactly and fast (Gibbons and Korach, "Testing Shared Memories", 1997).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace understudy::sim {

class RegisterHistory {
 public:
  using Value = std::uint32_t;
  static constexpr Value initial = 0;
  using Operation = std::size_t;

  /// Calls happen in the order in which they are made here.
  [[nodiscard]] Operation write_begins(Value value);
  [[nodiscard]] Operation read_begins();
  void write_ends(Operation operation);
  void read_ends(Operation operation, Value value);

  /// Empty: linearizable; else what is not. Writes without an end may have happened or not.
  [[nodiscard]] std::string complaint() const;
  [[nodiscard]] std::size_t size() const { return operations_.size(); }

 private:
  struct Call {
    bool writes;
    std::uint64_t begun;
    std::uint64_t ended{};  ///< 0: not yet
    Value value{};
  };
  /// When the register may hold a value: from its write to its last read.
  struct Zone;
  [[nodiscard]] std::optional<std::vector<Zone>> zones() const;

  std::vector<Call> operations_;
  std::uint64_t time_{};
};

}  // namespace understudy::sim
