// Where all chances of a simulation come from: SplitMix64 (Steele, Lea and Flood, 2014). Small,
// quick to seed anew, and the same on every machine.
#pragma once

#include <cstdint>

namespace understudy::sim {

class Chances {
 public:
  explicit Chances(std::uint64_t seed) : state_{seed} {}

  [[nodiscard]] std::uint64_t draw() {
    auto z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111eb;
    return z ^ (z >> 31U);
  }
  /// 0 to `below` - 1.
  [[nodiscard]] int pick(int below) {
    return static_cast<int>(((draw() >> 32U) * static_cast<std::uint64_t>(below)) >> 32U);
  }

 private:
  std::uint64_t state_;
};

}  // namespace understudy::sim
