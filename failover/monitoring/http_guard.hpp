// Decides which requests over HTTP may give orders. Whoever reaches the address may look; orders
// need the token, a connection on which nobody can read it, and a page that came from this very
// daemon. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "failover/monitoring/http_answer.hpp"
#include "failover/monitoring/http_token.hpp"

namespace understudy::failover {

/// The connection of a request.
struct HttpPeer {
  std::string address;
  bool encrypted{};
  bool loopback{};  ///< by the daemon's own end of it
};

/// What counts of a request's head; absent fields are empty.
struct HttpHead {
  std::string_view host;
  std::string_view origin;
  std::string_view authorization;
  std::string_view content_type;
};

class HttpGuard {
 public:
  /// `names`: the host names under which browsers reach this daemon, besides addresses.
  HttpGuard(const std::optional<HttpToken>& token, std::vector<std::string> names)
      : token_{token}, names_{std::move(names)} {}

  /// Why no order can come by such a connection, whoever gives it, and what to configure; nullopt:
  /// one can.
  [[nodiscard]] std::optional<std::string> obstacle(const HttpPeer& peer,
                                                    const HttpHead& head) const;
  /// The answer to an order that is refused.
  [[nodiscard]] std::optional<HttpAnswer> refuse_order(const HttpPeer& peer, const HttpHead& head,
                                                       TimePoint at);
  /// The same for a request that only shows its token, to learn whether it is good.
  [[nodiscard]] std::optional<HttpAnswer> refuse_token(const HttpPeer& peer, const HttpHead& head,
                                                       TimePoint at);

 private:
  [[nodiscard]] bool knows(std::string_view host) const;

  const std::optional<HttpToken> token_;
  const std::vector<std::string> names_;
  HttpTokenFailures failures_;
};

}  // namespace understudy::failover
