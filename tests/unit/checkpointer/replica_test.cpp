#include <cstring>
#include <future>

#include <catch2/catch.hpp>

#include "checkpointer/capture.hpp"
#include "checkpointer/image_digest.hpp"
#include "checkpointer/input_codec.hpp"
#include "checkpointer/replica.hpp"
#include "config/limits.hpp"
#include "memory.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Bytes = std::vector<std::byte>;

struct Fixture {
  Fixture() {
    auto created = Replica::create(
        layout, image, [this](const Error& why) { over.push_back(why.message); },
        [this](Epoch epoch) { first.push_back(epoch); });
    REQUIRE(created);
    replica = *created;
  }

  /// Page `index` full of `with`, as a record.
  static Bytes page(std::uint64_t index, std::byte with) {
    Bytes contents(page_bytes, with);
    Bytes before(page_bytes, ~with);
    Bytes room(record_bytes_max);
    room.resize(encode_page(PageIndex{index}, ConstPage{contents.data(), page_bytes},
                            Page{before.data(), page_bytes}, room));
    return room;
  }
  [[nodiscard]] replication::Seal seal(std::uint64_t device_bytes = 100) const {
    replication::Seal one;
    one.set_frames(1);
    one.set_device_bytes(device_bytes);
    for (const auto& block : layout.blocks()) one.add_used_bytes(block.used_bytes);
    return one;
  }
  void commit(std::uint64_t epoch, const std::vector<Bytes>& payloads) {
    replication::StagedEpoch staged{Epoch{epoch}, {}, {}, seal()};
    for (const auto& payload : payloads) staged.payloads.emplace_back(payload);
    replica->on_commit(staged);
  }
  [[nodiscard]] bool refuses(const replication::Seal& one) const {
    const auto checked = replica->on_check_seal(one);
    return !checked && checked.error().kind == ErrorKind::protocol;
  }
  [[nodiscard]] std::byte at(std::uint64_t page) const { return image[page * page_bytes]; }

  hypervisor::RamLayout layout{small_layout()};
  Bytes image = Bytes(layout.bytes());
  std::vector<std::string> over;
  std::vector<Epoch> first;
  std::shared_ptr<Replica> replica;
};

replication::Request verify_request() {
  replication::Request request;
  request.set_id(9);
  request.mutable_verify();
  return request;
}

}  // namespace

TEST_CASE("what the guest was given after the last commit is given again, once") {
  Fixture fixture;
  const auto input = [](std::byte with) {
    const std::vector<netbuffer::GivenFrame> frames{{1, Epoch{1}, Bytes(60, with)}};
    return encode_input(frames).front();
  };
  REQUIRE(fixture.replica->on_input(Epoch{1}, input(std::byte{1})));
  REQUIRE(fixture.replica->on_input(Epoch{2}, input(std::byte{2})));
  fixture.commit(1, {});
  REQUIRE(fixture.replica->on_input(Epoch{1}, input(std::byte{3})));
  REQUIRE(fixture.replica->on_input(Epoch{3}, input(std::byte{4})));
  CHECK_FALSE(fixture.replica->on_input(Epoch{3}, Bytes(4)));
  Bytes seen;
  const auto see = [&](std::size_t nic, std::span<const std::byte> frame) {
    CHECK(nic == 1);
    seen.push_back(frame.front());
  };
  fixture.replica->give_input(see);
  fixture.replica->give_input(see);
  CHECK(seen == Bytes{std::byte{2}, std::byte{4}});
}

TEST_CASE("a backup keeps so much input and no more, and room comes back with a commit") {
  Fixture fixture;
  const std::vector<netbuffer::GivenFrame> frames{{0, Epoch{1}, Bytes(50'000)}};
  const auto payload = encode_input(frames).front();
  for (int i = 0; i < 100; ++i) REQUIRE(fixture.replica->on_input(Epoch{1}, payload));
  fixture.commit(1, {});
  for (int i = 0; i < 100; ++i) REQUIRE(fixture.replica->on_input(Epoch{2}, payload));
  std::size_t given = 0;
  fixture.replica->give_input([&](std::size_t, auto) { ++given; });
  CHECK(given == limits::input_kept_bytes / payload.size());
}

TEST_CASE("pages of the synchronisation are applied at once, and make no replica yet") {
  Fixture fixture;
  REQUIRE(fixture.replica->on_sync_pages(fixture.page(3, std::byte{7})));
  CHECK(fixture.at(3) == std::byte{7});
  CHECK(fixture.replica->status().committed == Epoch{});
  CHECK(fixture.first.empty());
}

TEST_CASE("what is checked is not applied before its commit") {
  Fixture fixture;
  const auto payload = fixture.page(3, std::byte{7});
  REQUIRE(fixture.replica->on_check(payload));
  CHECK(fixture.at(3) == std::byte{});
  fixture.commit(1, {payload, fixture.page(4, std::byte{8})});
  CHECK(fixture.at(3) == std::byte{7});
  CHECK(fixture.at(4) == std::byte{8});
  CHECK(fixture.replica->status().committed == Epoch{1});
  fixture.commit(2, {});
  CHECK(fixture.first == std::vector<Epoch>{Epoch{1}});
}

TEST_CASE("pages that are malformed or beyond the image are refused, and nothing is written") {
  Fixture fixture;
  const auto pages = fixture.layout.pages() + device_pages;
  auto payload = fixture.page(3, std::byte{7});
  const auto beyond = fixture.page(pages, std::byte{1});
  payload.insert(payload.end(), beyond.begin(), beyond.end());
  CHECK_FALSE(fixture.replica->on_sync_pages(payload));
  CHECK_FALSE(fixture.replica->on_check(payload));
  CHECK(fixture.replica->on_check(fixture.page(pages - 1, std::byte{1})));
  CHECK(fixture.at(3) == std::byte{});
}

TEST_CASE("a seal must speak of this machine") {
  Fixture fixture;
  REQUIRE(fixture.replica->on_check_seal(fixture.seal()));
  CHECK(fixture.replica->on_check_seal(fixture.seal(limits::device_state_bytes)));
  CHECK(fixture.refuses(fixture.seal(0)));
  CHECK(fixture.refuses(fixture.seal(limits::device_state_bytes + 1)));
  CHECK(fixture.refuses(fixture.seal(~std::uint64_t{0})));

  auto fewer = fixture.seal();
  fewer.mutable_used_bytes()->RemoveLast();
  CHECK(fixture.refuses(fewer));
  fewer.clear_used_bytes();
  CHECK(fixture.refuses(fewer));
  auto more = fixture.seal();
  more.add_used_bytes(0);
  CHECK(fixture.refuses(more));

  for (int i = 0; i < fixture.seal().used_bytes_size(); ++i) {
    const auto most = fixture.layout.blocks()[static_cast<std::size_t>(i)].max_bytes;
    auto large = fixture.seal();
    large.set_used_bytes(i, most);
    CHECK_FALSE(fixture.refuses(large));
    large.set_used_bytes(i, most + 1);
    CHECK(fixture.refuses(large));
  }
}

TEST_CASE("the device state is that of the last commit") {
  Fixture fixture;
  fixture.commit(1, {fixture.page(fixture.layout.pages(), std::byte{5})});
  const auto devices = fixture.replica->devices();
  REQUIRE(devices.bytes.size() == 100);
  CHECK(devices.bytes[99] == std::byte{5});
  CHECK(devices.used_bytes.size() == fixture.layout.blocks().size());
  CHECK(devices.used_bytes[1] == page_bytes);
}

TEST_CASE("a replica's digest is that of its image and devices") {
  Fixture fixture;
  fixture.commit(1, {fixture.page(2, std::byte{3}), fixture.page(9, std::byte{4}),
                     fixture.page(fixture.layout.pages(), std::byte{5}),
                     // Left from a larger state: not part of this one.
                     fixture.page(fixture.layout.pages() + 1, std::byte{6})});
  const auto reply = fixture.replica->on_request(verify_request(), [] { return true; });
  CHECK(reply.id() == 9);
  REQUIRE(reply.has_verify());
  CHECK(reply.verify().epoch() == 1);
  ImageDigest digest{fixture.layout};
  digest.add(PageIndex{0}, fixture.image);
  digest.add(PageIndex{fixture.layout.pages()}, Bytes(page_bytes, std::byte{5}));
  const auto expected = digest.finish();
  REQUIRE(reply.verify().block_digest_size() == static_cast<int>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(reply.verify().block_digest(static_cast<int>(i)) == expected[i]);
}

TEST_CASE("a request that nobody knows is answered") {
  Fixture fixture;
  replication::Request request;
  request.set_id(4);
  const auto reply = fixture.replica->on_request(request, [] { return true; });
  CHECK(reply.id() == 4);
  CHECK_FALSE(reply.failed().empty());
}

TEST_CASE("the end of the session is told once, with its reason") {
  Fixture fixture;
  CHECK_FALSE(fixture.replica->status().over);
  fixture.replica->on_end({ErrorKind::closed, "bye"});
  CHECK(fixture.over == std::vector<std::string>{"bye"});
  CHECK(fixture.replica->status().over);
  CHECK(fixture.replica->status().why_over == "bye");
}

// Before, a standby machine that died left its replica writing where its image had been.
TEST_CASE("a replica whose machine has died refuses what follows and writes nothing") {
  Fixture fixture;
  const auto payload = fixture.page(3, std::byte{7});
  fixture.commit(1, {});
  fixture.replica->abandon();
  CHECK_FALSE(fixture.replica->on_sync_pages(payload));
  CHECK_FALSE(fixture.replica->on_check_seal(fixture.seal()));
  fixture.commit(2, {payload});
  CHECK(fixture.at(3) == std::byte{});
  CHECK(fixture.replica->status().committed == Epoch{1});
  CHECK_FALSE(fixture.replica->on_request(verify_request(), [] { return true; }).failed().empty());
}

TEST_CASE(
    "a frozen epoch stays as it was while later ones are applied, and ends with the session") {
  Fixture fixture;
  fixture.commit(1, {Fixture::page(0, std::byte{1}), Fixture::page(1, std::byte{2})});
  Bytes target(fixture.image.size());
  const auto ram = std::make_shared<RamSnapshot>(fixture.replica->ram(), RamSnapshot::into(target));
  const auto frozen = fixture.replica->freeze(ram, nullptr);
  REQUIRE(frozen);
  CHECK(frozen->epoch == Epoch{1});
  CHECK(frozen->devices.size() == 100);

  fixture.commit(2, {Fixture::page(1, std::byte{9}), Fixture::page(2, std::byte{9})});
  CHECK(fixture.at(1) == std::byte{9});
  Bytes later(fixture.image.size());
  const auto another =
      std::make_shared<RamSnapshot>(fixture.replica->ram(), RamSnapshot::into(later));
  REQUIRE(fixture.replica->freeze(another, nullptr));
  fixture.commit(3, {Fixture::page(1, std::byte{4})});
  while (another->copy(1)) {
  }
  CHECK(later[page_bytes] == std::byte{9});
  CHECK(later[2 * page_bytes] == std::byte{9});
  while (ram->copy(1)) {
  }
  CHECK(ram->complete());
  CHECK(target[0] == std::byte{1});
  CHECK(target[page_bytes] == std::byte{2});
  CHECK(target[2 * page_bytes] == std::byte{0});

  fixture.replica->on_end({ErrorKind::closed, "gone"});
  CHECK_FALSE(fixture.replica->freeze(ram, nullptr));
}

TEST_CASE("a replica that is not complete is not frozen, and one that goes away stops the copy") {
  Fixture fixture;
  Bytes target(fixture.image.size());
  const auto ram = std::make_shared<RamSnapshot>(fixture.replica->ram(), RamSnapshot::into(target));
  CHECK_FALSE(fixture.replica->freeze(ram, nullptr));
  fixture.commit(1, {Fixture::page(0, std::byte{1}), Fixture::page(1, std::byte{2})});
  REQUIRE(fixture.replica->freeze(ram, nullptr));
  fixture.replica->abandon();
  CHECK_FALSE(ram->copy(1));
  CHECK_FALSE(ram->complete());
}
