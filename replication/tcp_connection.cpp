#include "replication/tcp_connection.hpp"

#include "replication/asio_tcp_link.hpp"

namespace understudy::replication {
namespace {

std::string peer_name(const asio::ip::tcp::socket& socket) {
  boost::system::error_code code;
  const auto peer = socket.remote_endpoint(code);
  return code ? "?" : fmt::format("{}:{}", peer.address().to_string(), peer.port());
}

UniqueFd take(asio::ip::tcp::socket socket) {
  boost::system::error_code code;
  const auto fd = socket.release(code);
  return code ? UniqueFd{} : UniqueFd{fd};
}

}  // namespace

TcpConnection::TcpConnection(asio::ip::tcp::socket socket,
                             std::shared_ptr<const Credentials> credentials, HandshakeSide side)
    : TcpConnection{std::move(socket), State{Fresh{std::move(credentials), side}}} {}

TcpConnection::TcpConnection(asio::ip::tcp::socket socket, FrameStream stream)
    : TcpConnection{std::move(socket), State{std::move(stream)}} {}

TcpConnection::TcpConnection(asio::ip::tcp::socket socket, State state)
    : peer_{peer_name(socket)}, state_{std::move(state)} {
  fd_ = take(std::move(socket));
}

std::shared_ptr<Link> TcpConnection::start(asio::io_context& io, LinkEvents& events) {
  asio::ip::tcp::socket socket{io, asio::ip::tcp::v4(), fd_.release()};
  if (auto* fresh = std::get_if<Fresh>(&state_)) {
    return AsioTcpLink::start(std::move(socket), events, std::move(fresh->credentials),
                              fresh->side);
  }
  return AsioTcpLink::start(std::move(socket), events, std::get<FrameStream>(std::move(state_)));
}

}  // namespace understudy::replication
