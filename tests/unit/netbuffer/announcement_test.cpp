#include "netbuffer/announcement.hpp"

#include <algorithm>
#include <string>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::netbuffer;
using namespace std::string_literals;

TEST_CASE("a guest is announced by a RARP request to everybody") {
  const auto frame = announcement(*MacAddress::parse("52:54:00:12:34:56"));
  std::string text;
  for (const auto b : frame) text += static_cast<char>(b);
  const auto mac = "\x52\x54\0\x12\x34\x56"s;
  const auto expected = "\xff\xff\xff\xff\xff\xff"s + mac + "\x80\x35"s + "\0\1\x08\0\6\4\0\3"s +
                        mac + "\0\0\0\0"s + mac + "\0\0\0\0"s;
  CHECK(text == expected + std::string(60 - expected.size(), '\0'));
}

TEST_CASE("announcements begin at once and come apart") {
  CHECK(announcement_times.front() == milliseconds{0});
  CHECK(std::is_sorted(announcement_times.begin(), announcement_times.end()));
  CHECK(announcement_times.back() < seconds{1});
}
