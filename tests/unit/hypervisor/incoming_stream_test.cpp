#include "hypervisor/incoming_stream.hpp"

#include <algorithm>
#include <string>

#include <catch2/catch.hpp>

#include "config/types.hpp"

using namespace understudy;
using namespace understudy::hypervisor;

namespace {
std::vector<std::byte> bytes(const std::string& text) {
  const auto view = std::as_bytes(std::span{text});
  return {view.begin(), view.end()};
}
std::string text(std::span<const std::byte> bytes) {
  std::string result;
  for (const auto b : bytes) result += static_cast<char>(b);
  return result;
}
using namespace std::string_literals;
const auto devices = bytes("QEVM\0\0\0\3DEVICES"s);
}  // namespace

TEST_CASE("the head is what QEMU expects before the device sections") {
  std::vector<std::byte> pages(2 * page_bytes);
  pages[page_bytes] = std::byte{9};
  const auto head = incoming_head(devices, "pc-1", {{"vga", pages}});
  REQUIRE(head);
  const auto id = "\0\x10\0\0"s;
  const auto start = "QEVM\0\0\0\3"s + "\x07\0\0\0\4pc-1"s + "\x01"s + id +
                     "\3ram\0\0\0\0\0\0\0\4"s + "\0\0\0\0\0\0\x20\4"s + "\3vga\0\0\0\0\0\0\x20\0"s +
                     "\0\0\0\0\0\0\0\x10\x7e"s + id;
  const auto page_of_zeros = "\x03"s + id + "\0\0\0\0\0\0\0\2\3vga\0"s;
  const auto page_with_nine = "\0\0\0\0\0\0\x10\x28"s;
  const auto expected = start + page_of_zeros + page_with_nine;
  REQUIRE(head->size() == expected.size() + page_bytes + 8 + 5);
  CHECK(text(*head).substr(0, expected.size()) == expected);
  CHECK((*head)[expected.size()] == std::byte{9});
  CHECK(text(incoming_tail(devices)) == "DEVICES");
}

TEST_CASE("a device state that is not one is refused") {
  CHECK_FALSE(incoming_head(bytes(""), "pc", {}));
  CHECK_FALSE(incoming_head(bytes("QEVM"), "pc", {}));
  CHECK_FALSE(incoming_head(bytes("QEVM\0\0\0\2xxxxxx"s), "pc", {}));
}
