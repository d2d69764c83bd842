#include "netbuffer/detour.hpp"

#include "config/limits.hpp"
#include "fake_uplink.hpp"

using namespace understudy;
using namespace understudy::netbuffer;

namespace {

const std::string guest{"\x52\x54\x00\x00\x00\x07", 6};
const std::string client{"\x52\x54\x00\x00\x00\x01", 6};

struct Fixture {
  Wire wire;
  std::pair<UniqueFd, UniqueFd> ends = seqpacket_pair();
  std::shared_ptr<Detour> detour =
      std::make_shared<Detour>(std::make_unique<FakeUplink>(wire, std::move(ends.second)),
                               MacAddress{{0x52, 0x54, 0, 0, 0, 7}});
  std::unique_ptr<Uplink> uplink = Detour::uplink(detour);

  void arrives(const std::string& frame) {
    REQUIRE(::send(ends.first.get(), frame.data(), frame.size(), 0) ==
            static_cast<ssize_t>(frame.size()));
  }
  /// What the guest gets; empty: nothing.
  std::string received() {
    std::vector<std::byte> space(limits::packet_bytes);
    const auto got = uplink->receive(space);
    REQUIRE(got);
    return *got ? text(std::span{space}.first(**got)) : "";
  }
};

std::string frame(const std::string& to, const std::string& payload) {
  return to + client + payload;
}

}  // namespace

TEST_CASE("a guest that stays gets its frames") {
  Fixture f;
  f.arrives(frame(guest, "1"));
  CHECK(f.received() == frame(guest, "1"));
  f.detour->keep();
  f.arrives(frame(guest, "2"));
  f.arrives(frame(guest, "3"));
  CHECK(f.received().empty());
  f.detour->give_back();
  CHECK(f.received() == frame(guest, "2"));
  CHECK(f.received() == frame(guest, "3"));
  CHECK(f.received().empty());
  f.detour->send_after();
  f.arrives(frame(guest, "4"));
  CHECK(f.received() == frame(guest, "4"));
}

TEST_CASE("frames follow a guest that has moved, with an address of ours") {
  Fixture f;
  f.detour->keep();
  f.arrives(frame(guest, "1"));
  f.arrives(frame("\xff\xff\xff\xff\xff\xff", "to all"));
  f.arrives("runt");
  CHECK(f.received().empty());
  f.detour->send_after();
  f.arrives(frame(guest, "2"));
  CHECK(f.received().empty());
  const std::string ours = "\x56" + guest.substr(1);
  CHECK(f.wire.take() == Frames{guest + ours + "1", guest + ours + "2"});
}

TEST_CASE("what is kept is bounded") {
  Fixture f;
  f.detour->keep();
  for (std::size_t i = 0; i < limits::detour_frames + 10; ++i) {
    f.arrives(frame(guest, "x"));
    CHECK(f.received().empty());
  }
  f.detour->send_after();
  CHECK(f.wire.take().size() == limits::detour_frames);
}
