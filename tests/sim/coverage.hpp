// What the machines have been through in a simulation: which changes of the record were proposed,
// which actions ordered, and what the pacer said of epochs. What never came up was not tested.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>

#include "checkpointer/pacer.hpp"
#include "failover/guest_role.hpp"

namespace understudy::sim {

class Coverage {
 public:
  void ordered(const failover::Action& action) { ++actions_.at(action.index()); }
  void paced(checkpointer::Pacer::Act act) { ++paces_.at(static_cast<std::size_t>(act)); }
  /// False: no machine may propose that. `dead` is known to run nothing.
  [[nodiscard]] bool proposed(const failover::Record& from, const failover::Record& to,
                              NodeId dead);
  Coverage& operator+=(const Coverage& other);

  /// How much of what there is came up; what did not, and what came up least.
  [[nodiscard]] std::string text() const;

 private:
  std::array<std::uint64_t, std::variant_size_v<failover::Action>> actions_{};
  std::array<std::uint64_t, 9> changes_{};
  std::array<std::uint64_t, 3> paces_{};
};

}  // namespace understudy::sim
