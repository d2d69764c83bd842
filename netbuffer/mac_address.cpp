#include "netbuffer/mac_address.hpp"

#include <charconv>

namespace understudy::netbuffer {
namespace {
constexpr std::size_t text_size = 17;
constexpr std::uint8_t group_bit = 1;

bool parse_octet(std::string_view two, std::uint8_t& octet) {
  const auto [end, error] = std::from_chars(two.data(), two.data() + two.size(), octet, 16);
  return error == std::errc{} && end == two.data() + two.size();
}
}  // namespace

Result<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress mac;
  bool good = text.size() == text_size;
  for (std::size_t i = 0; good && i < mac.octets.size(); ++i) {
    good = parse_octet(text.substr(3 * i, 2), mac.octets.at(i)) &&
           (i + 1 == mac.octets.size() || text[3 * i + 2] == ':');
  }
  if (!good || mac == MacAddress{} || (mac.octets[0] & group_bit) != 0) {
    return fail(ErrorKind::invalid,
                "'{}' is not a station's MAC address; write it like 52:54:00:12:34:56", text);
  }
  return mac;
}

std::string MacAddress::text() const {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", octets[0], octets[1], octets[2],
                     octets[3], octets[4], octets[5]);
}

}  // namespace understudy::netbuffer
