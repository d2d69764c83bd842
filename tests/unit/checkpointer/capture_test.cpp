// FrameWriter and Capture, with a session and a guest in memory.
#include <catch2/catch.hpp>

#include "checkpointer/capture.hpp"
#include "fakes.hpp"

using namespace understudy;
using namespace understudy::checkpointer;
using replication::FrameType;

namespace {

constexpr auto never = [] { return false; };

void write(FrameWriter& writer, std::size_t bytes, std::byte with) {
  const auto room = writer.room();
  REQUIRE(room);
  REQUIRE(room->size() >= record_bytes_max);
  std::fill_n(room->begin(), bytes, with);
  writer.wrote(bytes);
}

/// What a backup makes of the frames.
struct Rebuilt {
  explicit Rebuilt(const hypervisor::RamLayout& layout)
      : ram(layout.bytes()), devices(limits::device_state_bytes) {}
  void apply(FakeSender& sender) {
    for (const auto& frame : sender.frames) {
      const ImageView image{ram, devices};
      REQUIRE(check_records(frame.payload(), image.pages()));
      apply_records(frame.payload(), image, [](std::uint64_t) {});
    }
    sender.frames.clear();
  }
  std::vector<std::byte> ram;
  std::vector<std::byte> devices;
};

}  // namespace

TEST_CASE("records are packed into frames until one might not fit") {
  FakeSender sender{8};
  FrameWriter writer{sender, never};
  writer.begin(FrameType::pages, Epoch{4});
  for (int i = 0; i < 20; ++i) write(writer, record_bytes_max, std::byte{1});
  writer.flush();
  REQUIRE(sender.frames.size() == 2);
  for (const auto& frame : sender.frames) {
    CHECK(frame.type == FrameType::pages);
    CHECK(frame.epoch == Epoch{4});
    CHECK(frame.payload().size() % record_bytes_max == 0);
  }
  CHECK(sender.frames[0].payload().size() == 14 * record_bytes_max);
  CHECK(writer.frames() == 2);
  CHECK(writer.bytes() == 20 * record_bytes_max);
}

TEST_CASE("room is the same until something is written, and nothing written is nothing sent") {
  FakeSender sender{8};
  FrameWriter writer{sender, never};
  writer.begin(FrameType::pages, Epoch{1});
  const auto first = writer.room();
  const auto second = writer.room();
  REQUIRE((first && second));
  CHECK(first->data() == second->data());
  writer.flush();
  writer.flush();
  CHECK(sender.frames.empty());
  CHECK(writer.frames() == 0);
}

TEST_CASE("what was written before `begin` belongs to the epoch before") {
  FakeSender sender{8};
  FrameWriter writer{sender, never};
  writer.begin(FrameType::sync_pages, Epoch{});
  write(writer, 100, std::byte{1});
  writer.begin(FrameType::pages, Epoch{1});
  CHECK(writer.frames() == 0);
  CHECK(writer.bytes() == 0);
  write(writer, 200, std::byte{2});
  writer.flush();
  REQUIRE(sender.frames.size() == 2);
  CHECK(sender.frames[0].type == FrameType::sync_pages);
  CHECK(sender.frames[1].type == FrameType::pages);
  CHECK(sender.frames[1].epoch == Epoch{1});
  CHECK(writer.frames() == 1);
}

TEST_CASE("a message travels behind all pages before it") {
  FakeSender sender{8};
  FrameWriter writer{sender, never};
  writer.begin(FrameType::pages, Epoch{1});
  write(writer, 100, std::byte{1});
  replication::Seal seal;
  seal.set_frames(1);
  seal.set_device_bytes(77);
  REQUIRE(writer.message(FrameType::seal, Epoch{1}, seal));
  REQUIRE(sender.frames.size() == 2);
  CHECK(sender.frames[1].type == FrameType::seal);
  replication::Seal arrived;
  const auto payload = sender.frames[1].payload();
  REQUIRE(arrived.ParseFromArray(payload.data(), static_cast<int>(payload.size())));
  CHECK(arrived.device_bytes() == 77);
}

TEST_CASE("a message that no frame can hold is an error") {
  FakeSender sender{8};
  FrameWriter writer{sender, never};
  replication::Reply reply;
  reply.set_failed(std::string(limits::frame_payload_bytes, 'x'));
  const auto sent = writer.message(FrameType::request, Epoch{1}, reply);
  REQUIRE_FALSE(sent);
  CHECK(sent.error().kind == ErrorKind::limit);
}

TEST_CASE("the writer waits for a slow link, until it is cancelled or the session ends") {
  FakeSender sender{1};
  int asked = 0;
  FrameWriter writer{sender, [&] { return ++asked == 3; }};
  writer.begin(FrameType::pages, Epoch{1});
  write(writer, limits::frame_payload_bytes, std::byte{1});
  const auto cancelled = writer.room();
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().kind == ErrorKind::closed);
  CHECK(asked == 3);

  asked = -1000;
  sender.when_full = [&] { sender.frames.clear(); };
  CHECK(writer.room());

  write(writer, limits::frame_payload_bytes, std::byte{1});
  sender.when_full = [&] { sender.stop("lost"); };
  const auto lost = writer.room();
  REQUIRE_FALSE(lost);
  CHECK(lost.error().kind == ErrorKind::closed);
}

TEST_CASE("capture rebuilds the guest at the other end, pass after pass") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    INFO("seed " << seed);
    FakeMachine machine{layout_of_pages(100), seed};
    FakeSender sender{64};
    FrameWriter writer{sender, never};
    machine.run(50);
    REQUIRE(machine.track());
    auto capture = Capture::create(machine, writer);
    REQUIRE(capture);
    Rebuilt rebuilt{machine.layout()};
    for (std::uint64_t epoch = 1; epoch <= 20; ++epoch) {
      machine.run(30);
      writer.begin(FrameType::pages, Epoch{epoch});
      // Some while the guest runs and writes on, the rest while it is paused.
      machine.while_harvested = [&] { machine.run(1); };
      REQUIRE(capture->take(10));
      REQUIRE(machine.pause(hypervisor::PauseFor::checkpoint));
      REQUIRE(capture->take(hypervisor::all_pages));
      const auto devices = machine.save_devices(hypervisor::Then::stay_paused);
      REQUIRE(devices);
      REQUIRE(capture->take_devices(*devices));
      writer.flush();
      rebuilt.apply(sender);
      REQUIRE(rebuilt.ram == machine.ram());
      REQUIRE(
          std::equal(machine.devices().begin(), machine.devices().end(), rebuilt.devices.begin()));
      REQUIRE(machine.resume());
    }
  }
}

TEST_CASE("pages that were written but not changed are counted and not sent") {
  FakeMachine machine{small_layout()};
  FakeSender sender{8};
  FrameWriter writer{sender, never};
  REQUIRE(machine.track());
  auto capture = Capture::create(machine, writer);
  REQUIRE(capture);
  writer.begin(FrameType::pages, Epoch{1});
  machine.fill(1, std::byte{1});
  machine.fill(2, std::byte{});  // it was zero before
  REQUIRE(capture->take(hypervisor::all_pages));
  const auto first = capture->counts();
  CHECK(first.dirty_pages == 2);
  CHECK(first.records == 1);
  machine.fill(1, std::byte{1});
  REQUIRE(capture->take(hypervisor::all_pages));
  const auto second = capture->counts();
  CHECK(second.dirty_pages == 1);
  CHECK(second.records == 0);
  CHECK(capture->counts().dirty_pages == 0);
}

TEST_CASE("what is left of a device page is zeros, and a smaller state leaves the rest alone") {
  FakeMachine machine{small_layout()};
  FakeSender sender{8};
  FrameWriter writer{sender, never};
  auto capture = Capture::create(machine, writer);
  REQUIRE(capture);
  Rebuilt rebuilt{machine.layout()};
  const std::vector<std::byte> large(2 * page_bytes, std::byte{7});
  const std::vector<std::byte> small(10, std::byte{7});
  writer.begin(FrameType::pages, Epoch{1});
  REQUIRE(capture->take_devices({large, {}}));
  REQUIRE(capture->take_devices({small, {}}));
  writer.flush();
  rebuilt.apply(sender);
  CHECK(rebuilt.devices[9] == std::byte{7});
  CHECK(rebuilt.devices[10] == std::byte{});
  CHECK(rebuilt.devices[page_bytes] == std::byte{7});
}
