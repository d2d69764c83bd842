#include "hypervisor/ide_ports.hpp"

#include <catch2/catch.hpp>

using namespace understudy::hypervisor;

TEST_CASE("a paused IDE channel awaits data after a command and before its DMA") {
  CHECK(awaits_data("portb[0x0376] = 0x58\r\n").value());
  CHECK_FALSE(awaits_data("portb[0x0376] = 0x50\r\n").value());
  CHECK_FALSE(awaits_data("portb[0x03f6] = 0x0\r\n").value());   // no disk there
  CHECK_FALSE(awaits_data("portb[0x03f6] = 0xff\r\n").value());  // no such controller
}

TEST_CASE("what is no status of a port is an error") {
  CHECK_FALSE(awaits_data("").has_value());
  CHECK_FALSE(awaits_data("unknown command: 'i'").has_value());
  CHECK_FALSE(awaits_data("portb[0x0376] = 0xzz").has_value());
}

TEST_CASE("a port is read as a byte") {
  CHECK(read_port(ide_status_ports[0]) == "i /xb 0x3f6");
}
