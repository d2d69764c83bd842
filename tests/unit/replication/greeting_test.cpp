#include "replication/greeting.hpp"

#include <catch2/catch.hpp>

#include "fakes.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

Hello good_hello() {
  const auto offer = offer_of("pg");
  return make_hello({"c1", "a", "b", {}}, &offer);
}

std::size_t count(const Hello& hello) {
  return objections(hello, "c1", "b").size();
}

}  // namespace

TEST_CASE("a proper hello is heard") {
  CHECK(count(good_hello()) == 0);
  CHECK(count(make_hello({"c1", "a", "b", {}}, nullptr)) == 0);
}

TEST_CASE("each thing that is wrong with a hello gets its sentence") {
  auto hello = good_hello();
  hello.set_cluster("other");
  hello.set_to_host("c");
  hello.set_from_host("b");
  CHECK(count(hello) == 3);
  hello = good_hello();
  hello.set_from_host("../x");
  CHECK(count(hello) == 1);
  hello = good_hello();
  hello.clear_offer();
  CHECK(count(hello) == 1);
  hello = good_hello();
  hello.mutable_offer()->mutable_guest()->clear_name();
  CHECK(count(hello) == 1);
}

TEST_CASE("what a stranger calls itself is shown without its control characters") {
  auto hello = good_hello();
  hello.set_cluster("\x1b[2J" + std::string(1000, 'x'));
  const auto sentences = objections(hello, "c1", "b");
  REQUIRE(sentences.size() == 1);
  CHECK(sentences[0].find('\x1b') == std::string::npos);
  CHECK(sentences[0].size() < 200);
}

TEST_CASE("staging room covers RAM, devices and pre-copy, and impossible guests are refused") {
  auto offer = offer_of("pg");
  offer.mutable_ram_block(0)->set_max_bytes(1U << 30U);
  const auto room = staging_bytes(offer);
  REQUIRE(room);
  CHECK(*room > (1U << 30U) + limits::device_state_bytes + limits::precopy_bytes_per_epoch);
  offer.mutable_ram_block(0)->set_max_bytes(~std::uint64_t{0});
  CHECK_FALSE(staging_bytes(offer));
  offer.mutable_ram_block(0)->set_max_bytes(0);
  CHECK_FALSE(staging_bytes(offer));
  offer = offer_of("pg");
  for (std::size_t i = 0; i < limits::ram_blocks; ++i) offer.add_ram_block();
  CHECK(staging_bytes(offer).error().kind == ErrorKind::limit);
  offer = offer_of("pg");
  for (int i = 0; i < 3; ++i) {
    offer.add_ram_block()->set_max_bytes(std::uint64_t{limits::memory_mib_max} << 20U);
  }
  CHECK(staging_bytes(offer).error().kind == ErrorKind::limit);
}

TEST_CASE("a refusal is one sentence per line") {
  const auto reply = refusal("one\ntwo");
  CHECK_FALSE(reply.accepted());
  REQUIRE(reply.refusal_size() == 2);
  CHECK(reply.refusal(1) == "two");
}
