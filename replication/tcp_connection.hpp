// A TCP connection on its way from one thread to another, with what its link knew.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include <boost/asio/ip/tcp.hpp>

#include "config/unique_fd.hpp"
#include "replication/connection.hpp"
#include "replication/frame_stream.hpp"

namespace understudy::replication {

class TcpConnection final : public Connection {
 public:
  /// A new one; in clear text without credentials.
  TcpConnection(asio::ip::tcp::socket socket, std::shared_ptr<const Credentials> credentials,
                HandshakeSide side);
  /// One that a link has released: the cipher's state goes with the descriptor.
  TcpConnection(asio::ip::tcp::socket socket, FrameStream stream);

  [[nodiscard]] std::shared_ptr<Link> start(asio::io_context& io, LinkEvents& events) override;
  [[nodiscard]] std::string peer() const override { return peer_; }

 private:
  struct Fresh {
    std::shared_ptr<const Credentials> credentials;
    HandshakeSide side;
  };
  using State = std::variant<Fresh, FrameStream>;
  TcpConnection(asio::ip::tcp::socket socket, State state);

  UniqueFd fd_;
  std::string peer_;
  State state_;
};

}  // namespace understudy::replication
