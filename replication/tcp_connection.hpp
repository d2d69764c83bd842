// A TCP connection on its way from one thread to another.
#pragma once

#include <string>

#include <boost/asio/ip/tcp.hpp>

#include "config/unique_fd.hpp"
#include "replication/connection.hpp"

namespace understudy::replication {

class TcpConnection final : public Connection {
 public:
  explicit TcpConnection(asio::ip::tcp::socket socket);

  [[nodiscard]] std::shared_ptr<Link> start(asio::io_context& io, LinkEvents& events) override;
  [[nodiscard]] std::string peer() const override { return peer_; }

 private:
  UniqueFd fd_;
  std::string peer_;
};

}  // namespace understudy::replication
