#include "replication/frame_buffer.hpp"

#include <thread>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::replication;

TEST_CASE("a frame lies in one piece, header before payload") {
  const auto pool = FramePool::create(2);
  REQUIRE(pool);
  auto buffer = (*pool)->acquire({});
  REQUIRE(buffer);
  CHECK(buffer->room().size() == limits::frame_payload_bytes);
  buffer->room().front() = std::byte{1};
  buffer->set_payload_bytes(10);
  CHECK(buffer->payload().size() == 10);
  CHECK(buffer->frame().size() == limits::frame_header_bytes + 10);
  CHECK(buffer->header().data() + limits::frame_header_bytes == buffer->payload().data());
  CHECK(buffer->frame()[limits::frame_header_bytes] == std::byte{1});
}

TEST_CASE("an empty pool says so, and buffers come back by themselves") {
  const auto pool = FramePool::create(2);
  REQUIRE(pool);
  auto one = (*pool)->acquire({});
  {
    const auto two = (*pool)->acquire({});
    CHECK((*pool)->in_use() == 2);
    const auto three = (*pool)->acquire({});
    REQUIRE_FALSE(three);
    CHECK(three.error().kind == ErrorKind::timed_out);
    CHECK((*pool)->waits() == 1);
  }
  CHECK((*pool)->in_use() == 1);
  FrameBuffer moved{std::move(*one)};
  CHECK((*pool)->in_use() == 1);
  moved = FrameBuffer{};
  CHECK((*pool)->in_use() == 0);
}

TEST_CASE("a wait ends when a buffer comes back, and when the pool closes") {
  const auto pool = FramePool::create(1);
  REQUIRE(pool);
  auto held = (*pool)->acquire({});
  REQUIRE(held);
  std::thread giving{[mine = std::move(*held)]() mutable { mine = FrameBuffer{}; }};
  auto next = (*pool)->acquire(seconds{20});
  CHECK(next);
  giving.join();
  std::thread closing{[&] { (*pool)->close(); }};
  const auto never = (*pool)->acquire(seconds{20});
  closing.join();
  REQUIRE_FALSE(never);
  CHECK(never.error().kind == ErrorKind::closed);
}
