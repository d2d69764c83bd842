// The address of an Ethernet station. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.hpp"

namespace understudy::netbuffer {

struct MacAddress {
  std::array<std::uint8_t, 6> octets{};

  /// "52:54:00:12:34:56". Group addresses and 00:00:00:00:00:00 are no station's.
  [[nodiscard]] static Result<MacAddress> parse(std::string_view text);
  [[nodiscard]] std::string text() const;

  friend bool operator==(const MacAddress&, const MacAddress&) = default;
};

}  // namespace understudy::netbuffer
