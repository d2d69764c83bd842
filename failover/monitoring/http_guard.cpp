#include "failover/monitoring/http_guard.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <boost/asio/ip/address.hpp>

#include "config/limits.hpp"

namespace understudy::failover {
namespace {

bool equal_ignoring_case(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, [](unsigned char a, unsigned char b) {
    return std::tolower(a) == std::tolower(b);
  });
}

/// Host without its port.
std::string_view name_of(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.find(':'));
}

HttpAnswer refusal(unsigned status, std::string why) {
  return {.status = status, .body = std::move(why) + "\n"};
}

}  // namespace

/// A page that another site's name leads here by (DNS rebinding) bears that name as its Host. An
/// address is nobody's name.
bool HttpGuard::knows(std::string_view host) const {
  const auto name = name_of(host);
  boost::system::error_code not_an_address;
  static_cast<void>(boost::asio::ip::make_address(std::string{name}, not_an_address));
  return !not_an_address || equal_ignoring_case(name, "localhost") ||
         std::ranges::any_of(names_,
                             [&](const auto& one) { return equal_ignoring_case(one, name); });
}

std::optional<std::string> HttpGuard::obstacle(const HttpPeer& peer, const HttpHead& head) const {
  if (!token_) return "this page only shows: for orders, configure http_token_file (and http_tls)";
  if (!peer.encrypted && !peer.loopback) {
    return "this page only shows: in clear text the token could be read on its way; configure "
           "http_tls { certificate_file key_file }, or give http_address as 127.0.0.1:PORT and "
           "come "
           "through ssh -L";
  }
  if (!knows(head.host)) {
    return fmt::format(
        "this page only shows: the daemon does not know itself as \"{}\"; give that name in the "
        "page_url of its host {{ }}, or come by its address",
        std::string{name_of(head.host)}.substr(0, limits::name_length));
  }
  return std::nullopt;
}

std::optional<HttpAnswer> HttpGuard::refuse_token(const HttpPeer& peer, const HttpHead& head,
                                                  TimePoint at) {
  if (auto why = obstacle(peer, head)) return refusal(403, *std::move(why));
  if (failures_.too_many(peer.address, at)) {
    return refusal(429, fmt::format("too many wrong tokens from {}: wait a minute", peer.address));
  }
  constexpr std::string_view scheme = "Bearer ";
  const auto& shown = head.authorization;
  if (!equal_ignoring_case(shown.substr(0, scheme.size()), scheme))
    return refusal(401, "orders need the token: Authorization: Bearer TOKEN");
  if (token_->matches(shown.substr(scheme.size()))) return std::nullopt;
  failures_.add(peer.address, at);
  return refusal(401, "the token is wrong");
}

std::optional<HttpAnswer> HttpGuard::refuse_order(const HttpPeer& peer, const HttpHead& head,
                                                  TimePoint at) {
  const auto own = fmt::format("{}://{}", peer.encrypted ? "https" : "http", head.host);
  if (!head.origin.empty() && !equal_ignoring_case(head.origin, own))
    return refusal(403, "orders from the page of another site are refused");
  if (auto refused = refuse_token(peer, head, at)) return refused;
  const auto type = head.content_type.substr(0, head.content_type.find(';'));
  if (!equal_ignoring_case(type, "application/json"))
    return refusal(415, "an order is application/json");
  return std::nullopt;
}

}  // namespace understudy::failover
