#include "config/names.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include <fmt/format.h>
#include <xxhash.h>

#include "config/limits.hpp"

namespace understudy {

Result<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  const auto digits = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  std::uint16_t port{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  Endpoint endpoint{std::string{text.substr(0, colon)}, port};
  in_addr parsed{};
  if (error != std::errc{} || end != digits.data() + digits.size() || port == 0 ||
      ::inet_pton(AF_INET, endpoint.address.c_str(), &parsed) != 1) {
    return fail(ErrorKind::invalid, "'{}' is not IPv4:PORT; write it like 10.0.0.1:7400", text);
  }
  return endpoint;
}

Result<Url> parse_url(std::string_view text) {
  const auto refuse = [&] {
    return fail(ErrorKind::invalid, "'{}' is not http://HOST[:PORT]/PATH, nor https", text);
  };
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (text.size() > limits::url_bytes || !printable) return refuse();
  Url url;
  url.tls = text.starts_with("https://");
  if (!url.tls && !text.starts_with("http://")) return refuse();
  auto rest = text.substr(url.tls ? 8 : 7);
  const auto slash = std::min(rest.find('/'), rest.size());
  url.path = slash == rest.size() ? "/" : std::string{rest.substr(slash)};
  auto host = rest.substr(0, slash);
  url.port = url.tls ? "443" : "80";
  if (const auto colon = host.rfind(':'); colon != std::string_view::npos) {
    url.port = host.substr(colon + 1);
    host = host.substr(0, colon);
    std::uint16_t port{};
    const auto* end = url.port.data() + url.port.size();
    if (const auto parsed = std::from_chars(url.port.data(), end, port);
        parsed.ec != std::errc{} || parsed.ptr != end || port == 0)
      return refuse();
  }
  url.host = host;
  if (!valid_name(host)) return refuse();
  return url;
}

bool name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= limits::name_length && name.front() != '-' &&
         name.front() != '.' && std::ranges::all_of(name, name_character);
}

std::string derived_mac(std::string_view guest, std::size_t nic) {
  const auto hash = XXH3_64bits_withSeed(guest.data(), guest.size(), nic);
  return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", hash & 0xffU, (hash >> 8U) & 0xffU,
                     (hash >> 16U) & 0xffU);
}

}  // namespace understudy
