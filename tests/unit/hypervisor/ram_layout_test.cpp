#include "hypervisor/ram_layout.hpp"

#include <catch2/catch.hpp>

#include "hypervisor/ram_blocks.hpp"

using namespace understudy;
using namespace understudy::hypervisor;
using Catch::Matchers::Contains;

namespace {

const std::string listing_of_qemu_7 =
    "              Block Name    PSize              Offset               Used              "
    "Total\r\n"
    "                 vga.vram    4 KiB  0x0000000010080000 0x0000000001000000 "
    "0x0000000001000000\r\n"
    "                  pc.ram    4 KiB  0x0000000000000000 0x0000000010000000 "
    "0x0000000010000000\r\n"
    "    /rom@etc/acpi/tables    4 KiB  0x0000000011180000 0x0000000000020000 "
    "0x0000000000200000\r\n";

const std::string listing_of_qemu_8 =
    "              Block Name    PSize              Offset               Used              Total   "
    "             HVA  RO\n"
    "                  pc.ram    4 KiB  0x0000000000000000 0x0000000000100000 0x0000000000100000 "
    "0x00007f12ab000000  rw\n";

RamLayout layout(std::vector<RamBlock> blocks) {
  return RamLayout::of(std::move(blocks)).value();
}

}  // namespace

TEST_CASE("QEMU's list of RAM blocks is read in any version, main RAM first") {
  const auto seven = parse_ram_blocks(listing_of_qemu_7);
  REQUIRE(seven);
  REQUIRE(seven->size() == 3);
  CHECK((*seven)[0].block == RamBlock{"pc.ram", 0x10000000, 0x10000000});
  CHECK((*seven)[1].block == RamBlock{"/rom@etc/acpi/tables", 0x20000, 0x200000});
  CHECK((*seven)[2].block.name == "vga.vram");
  CHECK((*seven)[0].address == 0);
  CHECK(parse_ram_blocks(listing_of_qemu_8)->front().address == 0x7f12ab000000);
}

TEST_CASE("a list that cannot be read is an error") {
  CHECK_FALSE(parse_ram_blocks(""));
  CHECK_FALSE(parse_ram_blocks("heading\n"));
  CHECK_FALSE(parse_ram_blocks("heading\n pc.ram 4 KiB 0x0 rubbish 0x1000\n"));
  CHECK_FALSE(parse_ram_blocks("heading\n other 4 KiB 0x0 0x1000 0x1000\n"));
}

TEST_CASE("a layout numbers the pages of all blocks in a row") {
  const auto two = layout({{"pc.ram", 8192, 8192}, {"vga", 4096, 16384}});
  CHECK(two.pages() == 6);
  CHECK(two.first_page(1) == PageIndex{2});
  CHECK(two.bytes() == 24576);
}

TEST_CASE("impossible layouts are refused") {
  CHECK_FALSE(RamLayout::of({}));
  CHECK_FALSE(RamLayout::of({{"a", 0, 0}}));
  CHECK_FALSE(RamLayout::of({{"a", 100, 100}}));
  CHECK_FALSE(RamLayout::of({{"a", 8192, 4096}}));
  CHECK_FALSE(RamLayout::of({{"a", 4096, 4096}, {"a", 4096, 4096}}));
  CHECK_FALSE(RamLayout::of({{"", 4096, 4096}}));
  CHECK_FALSE(RamLayout::of({{"a", 0, ~std::uint64_t{4095}}}));
}

TEST_CASE("differences between layouts are told in words") {
  const auto ours = layout({{"pc.ram", 4096, 4096}, {"vga", 4096, 4096}});
  CHECK(differences(ours, layout({{"pc.ram", 0, 4096}, {"vga", 4096, 4096}})).empty());
  CHECK_THAT(differences(ours, layout({{"pc.ram", 4096, 4096}})).front(),
             Contains("vga (4 KiB) exists only here"));
  CHECK_THAT(differences(ours, layout({{"pc.ram", 8192, 8192}, {"vga", 4096, 4096}})).front(),
             Contains("pc.ram (4 KiB) here, pc.ram (8 KiB) there"));
}
