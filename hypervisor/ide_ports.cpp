#include "hypervisor/ide_ports.hpp"

#include <fmt/format.h>

#include <charconv>

namespace understudy::hypervisor {

std::string read_port(std::uint16_t port) {
  return fmt::format("i /xb 0x{:x}", port);
}

/// Like `portb[0x03f6] = 0x50`.
Result<bool> awaits_data(std::string_view reply) {
  constexpr unsigned data_request = 0x08;
  constexpr unsigned no_channel = 0xFF;  // the machine has another controller
  constexpr std::string_view before = "= 0x";
  const auto at = reply.find(before);
  if (at != std::string_view::npos) {
    const auto digits = reply.substr(at + before.size());
    unsigned status{};
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), status, 16);
    if (parsed.ec == std::errc{}) return status != no_channel && (status & data_request) != 0;
  }
  return fail(ErrorKind::protocol, "cannot read an IDE channel's status in: {}", reply);
}

}  // namespace understudy::hypervisor
