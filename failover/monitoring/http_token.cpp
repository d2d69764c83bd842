#include "failover/monitoring/http_token.hpp"

#include <algorithm>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "config/limits.hpp"
#include "config/secret.hpp"

namespace understudy::failover {
namespace {

constexpr auto how_to_make = "make one: head -c 24 /dev/urandom | base64 > FILE; chmod 600 FILE";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const auto begin = std::min(text.find_first_not_of(space), text.size());
  const auto end = text.find_last_not_of(space);
  return end == std::string_view::npos ? "" : text.substr(begin, end - begin + 1);
}

}  // namespace

Result<HttpToken> HttpToken::load(const std::string& file) {
  UNDERSTUDY_TRY(const auto secret, Secret::load({"token", file, limits::http_token_bytes,
                                                  limits::http_token_bytes_max, how_to_make}));
  const auto bytes = secret.bytes();
  // SAFETY: bytes are characters.
  const auto token = trimmed({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (token.size() < limits::http_token_bytes) {
    return fail(ErrorKind::invalid, "token {}: has {} characters, and {} are the least", file,
                token.size(), limits::http_token_bytes);
  }
  if (!std::ranges::all_of(token, [](char c) { return c > ' ' && c < '\x7f'; })) {
    return fail(ErrorKind::invalid, "token {}: must be one line of printable ASCII without spaces",
                file);
  }
  return HttpToken{token};
}

HttpToken::Digest HttpToken::digest_of(std::string_view text) {
  Digest digest{};
  // SAFETY: characters are bytes.
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

bool HttpToken::matches(std::string_view shown) const {
  const auto digest = digest_of(shown);
  return CRYPTO_memcmp(digest.data(), digest_.data(), digest.size()) == 0;
}

bool HttpTokenFailures::too_many(std::string_view address, TimePoint at) const {
  const auto known = std::ranges::find(addresses_, address, &Address::name);
  return known != addresses_.end() && at - known->since < limits::http_token_period &&
         known->failures >= limits::http_token_failures;
}

void HttpTokenFailures::add(std::string_view address, TimePoint at) {
  const auto known = std::ranges::find(addresses_, address, &Address::name);
  if (known != addresses_.end() && at - known->since < limits::http_token_period) {
    ++known->failures;
    return;
  }
  if (known != addresses_.end()) addresses_.erase(known);
  if (addresses_.size() >= limits::http_token_addresses) addresses_.pop_front();
  addresses_.push_back({std::string{address}, at, 1});
}

}  // namespace understudy::failover
