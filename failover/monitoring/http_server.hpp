// A small HTTP/1.1 server for what may be looked at: metrics, health, the status and its page.
// Reads only; anyone who reaches its address may look.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>

#include "config/result.hpp"
#include "config/settings.hpp"

namespace understudy::failover {

struct HttpAnswer {
  unsigned status{200};
  std::string type{"text/plain; charset=utf-8"};
  std::string body;
};

/// Of a GET or HEAD, by its path (without a query). On the io_context's thread; must be quick.
using HandleHttp = std::function<HttpAnswer(std::string_view path)>;

class HttpServer {
 public:
  virtual ~HttpServer() = default;

  /// An address that is in use, or not of this host, is `unavailable`, and says so.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> listen(boost::asio::io_context& io,
                                                                  const Endpoint& endpoint,
                                                                  HandleHttp handle);
  /// Closes the listener and all connections. Idempotent; the io_context's thread.
  virtual void stop() = 0;
};

}  // namespace understudy::failover
