// One client of the HTTP server: one request after another, the last of which may be an order.
#pragma once

#include <functional>
#include <memory>

#include <boost/asio/ip/tcp.hpp>

#include "failover/monitoring/http_server.hpp"

namespace understudy::failover {

/// The io_context's thread.
class HttpConnection {
 public:
  using OnClosed = std::function<void(HttpConnection*)>;

  /// `on_closed` is called at most once, when there is nothing to close any more.
  [[nodiscard]] static std::shared_ptr<HttpConnection> make(boost::asio::ip::tcp::socket socket,
                                                            std::shared_ptr<HttpService> service,
                                                            OnClosed on_closed);
  virtual ~HttpConnection() = default;

  virtual void start() = 0;
  virtual void close() = 0;
  /// An order was taken, and its last reply is still to come.
  [[nodiscard]] virtual bool serves_order() const = 0;
};

}  // namespace understudy::failover
