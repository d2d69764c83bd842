#include "netbuffer/mac_address.hpp"

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::netbuffer;

TEST_CASE("a station's MAC address is read and printed") {
  const auto mac = MacAddress::parse("52:54:00:aB:cd:0f");
  REQUIRE(mac);
  CHECK(mac->octets == std::array<std::uint8_t, 6>{0x52, 0x54, 0, 0xab, 0xcd, 0x0f});
  CHECK(mac->text() == "52:54:00:ab:cd:0f");
}

TEST_CASE("what is not a station's MAC address is refused") {
  for (const char* text :
       {"", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:56:78", "52-54-00-12-34-56",
        "52:54:00:12:34:5g", "52:54:00:12:34:-5", "00:00:00:00:00:00", "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff", "+2:54:00:12:34:56"}) {
    CAPTURE(text);
    const auto mac = MacAddress::parse(text);
    REQUIRE_FALSE(mac);
    CHECK(mac.error().kind == ErrorKind::invalid);
    CHECK_THAT(mac.error().message, Catch::Matchers::Contains(text));
  }
}
