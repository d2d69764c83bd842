// Who may give orders over HTTP: whoever shows the operators' token.
#pragma once

#include <array>
#include <cstddef>
#include <list>
#include <string>
#include <string_view>

#include "config/clock.hpp"
#include "config/result.hpp"

namespace understudy::failover {

/// Keeps no more of the token than its digest. Immutable.
class HttpToken {
 public:
  /// The text of `file`, without the white space around it: limits::http_token_bytes printable
  /// characters or more, readable by its owner only. Errors name the file and the remedy.
  [[nodiscard]] static Result<HttpToken> load(const std::string& file);
  explicit HttpToken(std::string_view token) : digest_{digest_of(token)} {}

  /// Takes equally long whatever `shown` is.
  [[nodiscard]] bool matches(std::string_view shown) const;

 private:
  using Digest = std::array<unsigned char, 32>;  ///< SHA-256
  static Digest digest_of(std::string_view text);
  Digest digest_;
};

/// Slows down who guesses: an address with limits::http_token_failures wrong tokens in a period is
/// not listened to until the period is over. Remembers a limited number of addresses. Pure.
class HttpTokenFailures {
 public:
  [[nodiscard]] bool too_many(std::string_view address, TimePoint at) const;
  void add(std::string_view address, TimePoint at);

 private:
  struct Address {
    std::string name;
    TimePoint since;  ///< its first failure in the period
    unsigned failures{};
  };
  std::list<Address> addresses_;  ///< the newest last
};

}  // namespace understudy::failover
