#include "netbuffer/egress_queue.hpp"

#include <deque>
#include <random>
#include <string>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::netbuffer;

namespace {

constexpr std::size_t room = limits::packet_bytes;
const TimePoint start{};

bool push(EgressQueue& queue, const std::string& frame, TimePoint when = start) {
  return queue.push(std::as_bytes(std::span{frame}), when);
}

/// All that may leave, oldest first.
std::string leaving(EgressQueue& queue) {
  std::string result;
  while (const auto packet = queue.front()) {
    for (const auto b : packet->frame) result += static_cast<char>(b);
    queue.pop();
  }
  return result;
}

}  // namespace

TEST_CASE("packets leave with their epoch, in order") {
  EgressQueue queue{room};
  CHECK(push(queue, "a"));
  CHECK(push(queue, "b"));
  CHECK_FALSE(queue.running_epoch_empty());
  queue.seal(Epoch{1});
  CHECK(queue.running_epoch_empty());
  CHECK(push(queue, "c"));
  queue.seal(Epoch{2});
  CHECK(push(queue, "d"));
  CHECK(leaving(queue).empty());
  queue.release(Epoch{1});
  CHECK(leaving(queue) == "ab");
  queue.release(Epoch{1});
  CHECK(leaving(queue).empty());
  queue.release(Epoch{2});
  CHECK(leaving(queue) == "c");
  CHECK(queue.packets() == 1);
  CHECK(queue.bytes() == 1);
}

TEST_CASE("a release covers all earlier epochs, and none that was not sealed") {
  EgressQueue queue{room};
  CHECK(push(queue, "a"));
  queue.seal(Epoch{1});
  queue.seal(Epoch{2});
  CHECK(push(queue, "b"));
  queue.seal(Epoch{3});
  CHECK(push(queue, "c"));
  queue.release(Epoch{4});
  CHECK(leaving(queue).empty());
  queue.release(Epoch{3});
  CHECK(leaving(queue) == "ab");
}

TEST_CASE("a new protection begins at epoch 1 with whatever is held") {
  EgressQueue queue{room};
  CHECK(push(queue, "a"));
  queue.seal(Epoch{57});
  CHECK(push(queue, "b"));
  queue.seal(Epoch{1});
  queue.release(Epoch{57});
  CHECK(leaving(queue).empty());
  queue.release(Epoch{1});
  CHECK(leaving(queue) == "ab");
}

TEST_CASE("everything may leave at once, or be forgotten") {
  EgressQueue queue{room};
  CHECK(push(queue, "a"));
  queue.seal(Epoch{1});
  CHECK(push(queue, "b"));
  queue.release_all();
  CHECK(leaving(queue) == "ab");
  CHECK(queue.running_epoch_empty());
  CHECK(push(queue, "c"));
  queue.seal(Epoch{2});
  queue.release(Epoch{2});
  CHECK(push(queue, "d"));
  CHECK(queue.drop() == 2);
  CHECK(queue.packets() == 0);
  CHECK(queue.bytes() == 0);
  CHECK(leaving(queue).empty());
  queue.release(Epoch{2});
  CHECK(leaving(queue).empty());
  CHECK(push(queue, "e"));
  queue.seal(Epoch{3});
  queue.release(Epoch{3});
  CHECK(leaving(queue) == "e");
}

TEST_CASE("a full queue takes nothing until packets have left") {
  EgressQueue queue{room, 3};
  CHECK(push(queue, "a"));
  CHECK(push(queue, "b"));
  CHECK(push(queue, "c"));
  CHECK_FALSE(push(queue, "d"));
  queue.seal(Epoch{1});
  queue.release(Epoch{1});
  CHECK(leaving(queue) == "abc");
  CHECK(push(queue, std::string(room, 'x')));
  CHECK_FALSE(push(queue, "y"));
}

TEST_CASE("a queue says when it is nearly full, of bytes or of packets") {
  EgressQueue queue{limits::packet_bytes, 8};
  CHECK(push(queue, std::string(limits::packet_bytes / 4 * 3 - 1, 'x')));
  CHECK_FALSE(queue.nearly_full());
  CHECK(push(queue, "yz"));
  CHECK(queue.nearly_full());
  queue.drop();
  for (int i = 0; i < 5; ++i) CHECK(push(queue, "a"));
  CHECK_FALSE(queue.nearly_full());
  CHECK(push(queue, "b"));
  CHECK(queue.nearly_full());
}

TEST_CASE("the oldest packet's arrival is known") {
  EgressQueue queue{room};
  CHECK_FALSE(queue.oldest());
  CHECK(push(queue, "a", start + seconds{1}));
  CHECK(push(queue, "b", start + seconds{2}));
  CHECK(queue.oldest() == start + seconds{1});
  queue.release_all();
  CHECK(queue.front()->since == start + seconds{1});
  queue.pop();
  CHECK(queue.oldest() == start + seconds{2});
}

TEST_CASE("under random use the queue is a list with a limit") {
  std::mt19937 random{7};  // NOLINT(*-msc51-cpp): a failure must come again
  EgressQueue queue{room, 200};
  std::deque<std::pair<std::string, std::uint64_t>> model;  // a frame and its epoch
  std::uint64_t running = 1;
  std::size_t refused = 0;
  for (int step = 0; step < 20'000; ++step) {
    const auto dice = random() % 16;
    if (dice < 12) {
      const std::string frame(1 + random() % 3000, static_cast<char>('a' + random() % 26));
      if (push(queue, frame)) {
        model.emplace_back(frame, running);
      } else {
        ++refused;
        REQUIRE(queue.bytes() + 2 * 3000 > room / 2);
      }
    } else if (dice < 14) {
      queue.seal(Epoch{running++});
    } else {
      const auto epoch = running - std::min<std::uint64_t>(running, random() % 4);
      queue.release(Epoch{epoch});
      std::string expected;
      while (epoch < running && !model.empty() && model.front().second <= epoch) {
        expected += model.front().first;
        model.pop_front();
      }
      REQUIRE(leaving(queue) == expected);
    }
    REQUIRE(queue.packets() == model.size());
  }
  CHECK(refused > 0);
}
