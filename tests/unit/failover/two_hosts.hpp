// The usual beginning: a guest runs on host a, and is protected to b.
#pragma once

#include <catch2/catch.hpp>

#include "failover_world.hpp"

namespace understudy::sim {

inline constexpr int a = 0;
inline constexpr int b = 1;

inline void start_on_a(World& world) {
  world.settle();
  REQUIRE(world.on(a).role->start(*world.at(a).book));
  world.settle();
  REQUIRE(world.on(a).runs);
  REQUIRE(world.on(a).output() == Output::open);
}

inline void protect_to_b(World& world) {
  REQUIRE(world.on(a).role->protect(*world.at(a).book, NodeId{2}));
  world.settle();
  REQUIRE(world.at(a).book->decided(world.guest().name()).backup == NodeId{2});
  REQUIRE(world.on(a).output() == Output::holding);
}

}  // namespace understudy::sim
