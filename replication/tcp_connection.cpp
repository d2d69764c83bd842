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

TcpConnection::TcpConnection(asio::ip::tcp::socket socket) : peer_{peer_name(socket)} {
  fd_ = take(std::move(socket));
}

std::shared_ptr<Link> TcpConnection::start(asio::io_context& io, LinkEvents& events) {
  return AsioTcpLink::start({io, asio::ip::tcp::v4(), fd_.release()}, events);
}

}  // namespace understudy::replication
