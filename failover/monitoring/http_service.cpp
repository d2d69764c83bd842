#include <utility>

#include "config/names.hpp"
#include "failover/monitoring/http_server.hpp"
#include "failover/monitoring/http_tls.hpp"

namespace understudy::failover {

Result<HttpService> HttpService::from(const Settings& settings, HandleHttp look, HandleCall order) {
  HttpService service{std::move(look), std::move(order), nullptr, nullptr};
  const auto& config = settings.config();
  if (config.has_http_tls()) {
    UNDERSTUDY_TRY(service.tls, load_tls(config.http_tls()));
  }
  std::optional<HttpToken> token;
  if (!config.http_token_file().empty()) {
    UNDERSTUDY_TRY(token, HttpToken::load(config.http_token_file()));
  }
  std::vector<std::string> names;
  if (const auto& url = settings.this_host().page_url(); !url.empty()) {
    UNDERSTUDY_TRY(const auto own, parse_url(url));
    names.push_back(own.host);
  }
  service.guard = std::make_shared<HttpGuard>(token, std::move(names));
  return service;
}

}  // namespace understudy::failover
