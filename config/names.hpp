// Names and addresses as they stand in a configuration.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.hpp"

namespace understudy {

/// An IPv4 address and port out of "10.0.0.1:7400".
struct Endpoint {
  std::string address;
  std::uint16_t port;
};
[[nodiscard]] Result<Endpoint> parse_endpoint(std::string_view text);

/// A web address, apart. The host is a name or an IPv4 address.
struct Url {
  bool tls{};
  std::string host;
  std::string port;
  std::string path;
};
[[nodiscard]] Result<Url> parse_url(std::string_view text);

/// A letter of ASCII, a digit, '-', '_' or '.'.
[[nodiscard]] bool name_character(char c);

/// Of name_character only, not starting with '-' or '.', at most limits::name_length.
[[nodiscard]] bool valid_name(std::string_view name);

/// "52:54:00:.." computed from the guest's name: equal on every host, unlikely to collide.
[[nodiscard]] std::string derived_mac(std::string_view guest, std::size_t nic);

}  // namespace understudy
