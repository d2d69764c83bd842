// A small HTTP/1.1 server, in clear text or TLS, for what may be looked at (metrics, health, the
// status and its page), and for orders (see http_guard.hpp). Whoever reaches its address may look.
//
//   GET /PATH             what `look` answers
//   GET /api/access       control.PageAccess; with a wrong token 401
//   POST /api/order       a control.Request; control.Reply after control.Reply, a line of JSON
//   each,
//                         the last of which is no progress
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>

#include "config/names.hpp"
#include "config/result.hpp"
#include "config/settings.hpp"
#include "failover/control_server.hpp"
#include "failover/monitoring/http_answer.hpp"
#include "failover/monitoring/http_guard.hpp"

namespace understudy::failover {

/// Of a GET or HEAD, by its path (without a query). On the io_context's thread; must be quick.
using HandleHttp = std::function<HttpAnswer(std::string_view path)>;

/// What a server does.
struct HttpService {
  /// With the certificate and the token that the configuration names. Errors say what to mend.
  [[nodiscard]] static Result<HttpService> from(const Settings& settings, HandleHttp look,
                                                HandleCall order);
  HandleHttp look;
  HandleCall order;
  std::shared_ptr<boost::asio::ssl::context> tls;  ///< nullptr: clear text
  std::shared_ptr<HttpGuard> guard;
};

class HttpServer {
 public:
  virtual ~HttpServer() = default;

  /// An address that is in use, or not of this host, is `unavailable`, and says so.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> listen(boost::asio::io_context& io,
                                                                  const Endpoint& endpoint,
                                                                  HttpService service);
  /// Closes the listener and all connections. Idempotent; the io_context's thread.
  virtual void stop() = 0;
};

}  // namespace understudy::failover
