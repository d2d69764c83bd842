#include "replication/asio_tcp_link.hpp"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include "config/assert.hpp"
#include "replication/tcp_connection.hpp"

namespace understudy::replication {
namespace {

constexpr std::size_t gathered_frames = 16;
constexpr std::size_t discarded_bytes = 64U << 10U;

using boost::system::error_code;

Error lost_connection(const error_code& code) {
  if (code == asio::error::eof) return {ErrorKind::closed, "the peer closed the connection"};
  return {ErrorKind::closed, "the connection broke: " + code.message()};
}

bool must_wait(const error_code& code) {
  return code == asio::error::would_block || code == asio::error::try_again;
}

void set_option(int fd, int level, int option, int value) {
  // Each is an improvement, none is needed: a kernel that refuses is no error.
  static_cast<void>(::setsockopt(fd, level, option, &value, sizeof value));
}

}  // namespace

std::shared_ptr<AsioTcpLink> AsioTcpLink::start(asio::ip::tcp::socket socket, LinkEvents& events) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::shared_ptr<AsioTcpLink> link{new AsioTcpLink{std::move(socket), events}};
  error_code ignored;
  link->socket_.non_blocking(true, ignored);
  tune(link->socket_.native_handle());
  link->wait_readable();
  return link;
}

AsioTcpLink::AsioTcpLink(asio::ip::tcp::socket socket, LinkEvents& events)
    : socket_{std::move(socket)}, events_{events} {
  gather_.reserve(gathered_frames);
}

void AsioTcpLink::tune(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
             static_cast<int>(milliseconds{limits::link_silence}.count()));
  // Without the privilege the kernel's own tuning reaches further than SO_RCVBUF could.
  set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, limits::link_socket_bytes);
  set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, limits::link_socket_bytes);
}

bool AsioTcpLink::accepts() const {
  return !closed_ && !finishing_ && queue_.size() < limits::link_queue_frames;
}

bool AsioTcpLink::send(std::span<const std::byte> frame) {
  if (!accepts()) {
    refused_ = true;
    return false;
  }
  enqueue({{}, frame});
  return true;
}

bool AsioTcpLink::send_copy(std::span<const std::byte> frame) {
  if (!accepts()) return false;
  Outgoing outgoing;
  outgoing.copy.assign(frame.begin(), frame.end());
  outgoing.bytes = outgoing.copy;
  enqueue(std::move(outgoing));
  return true;
}

void AsioTcpLink::enqueue(Outgoing outgoing) {
  queue_.push_back(std::move(outgoing));
  ++sent_frames_;
  if (!waiting_writable_) flush();
}

void AsioTcpLink::flush() {
  while (!queue_.empty() && !closed_ && !waiting_writable_) write_some();
  if (queue_.empty() && finishing_ && !closed_) {
    error_code ignored;
    socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }
}

void AsioTcpLink::write_some() {
  gather_.clear();
  for (const auto& outgoing : queue_) {
    if (gather_.size() == gathered_frames) break;
    gather_.emplace_back(outgoing.bytes.data(), outgoing.bytes.size());
  }
  error_code code;
  auto written = socket_.write_some(gather_, code);
  if (must_wait(code)) return wait_writable();
  if (code) {
    queue_.clear();
    return break_down_later(lost_connection(code));
  }
  while (written > 0) {
    auto& first = queue_.front().bytes;
    const auto part = std::min(written, first.size());
    first = first.subspan(part);
    written -= part;
    if (first.empty()) queue_.pop_front();
  }
}

void AsioTcpLink::wait_writable() {
  waiting_writable_ = true;
  socket_.async_wait(asio::socket_base::wait_write,
                     [self = shared_from_this()](const error_code& code) {
                       if (self->closed_) return;
                       self->waiting_writable_ = false;
                       if (code) return self->break_down(lost_connection(code));
                       self->flush();
                       const bool room = self->queue_.size() <= limits::link_queue_frames / 2;
                       if (room && self->accepts() && std::exchange(self->refused_, false)) {
                         self->events_.on_writable();
                       }
                     });
}

void AsioTcpLink::wait_readable() {
  socket_.async_wait(asio::socket_base::wait_read,
                     [self = shared_from_this()](const error_code& code) {
                       if (self->closed_) return;
                       if (code) return self->break_down(lost_connection(code));
                       self->on_readable();
                     });
}

/// Delivers one frame at most, so that what else waits on this thread gets its turn.
void AsioTcpLink::on_readable() {
  if (finishing_) return discard();
  while (true) {
    if (!header_ && next_header_read_ == next_header_.size() && !begin_frame()) return;
    if (header_ && payload_complete()) break;
    if (!read_some()) return;
  }
  deliver();
  if (closed_) return;
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (!self->closed_) self->on_readable();
  });
}

/// False: there is nothing to read now, or never again.
bool AsioTcpLink::read_some() {
  const auto payload = header_ ? place_.subspan(payload_read_) : std::span<std::byte>{};
  const auto next = std::span{next_header_}.subspan(next_header_read_);
  const std::array buffers{asio::mutable_buffer{payload.data(), payload.size()},
                           asio::mutable_buffer{next.data(), next.size()}};
  error_code code;
  const auto got = socket_.read_some(buffers, code);
  if (must_wait(code)) {
    wait_readable();
    return false;
  }
  if (code) {
    const bool inside = header_ || next_header_read_ > 0;
    break_down(inside && code == asio::error::eof
                   ? Error{ErrorKind::protocol, "its stream ended in the middle of a frame"}
                   : lost_connection(code));
    return false;
  }
  received_bytes_ += got;
  const auto of_payload = std::min(got, payload.size());
  payload_read_ += of_payload;
  next_header_read_ += got - of_payload;
  return true;
}

/// False: the link is down.
bool AsioTcpLink::begin_frame() {
  const auto header = decode_header(next_header_);
  if (!header) {
    break_down(header.error());
    return false;
  }
  const auto place = events_.place(*header);
  if (closed_) return false;
  if (place.size() < header->payload_bytes || place.empty()) {
    break_down({ErrorKind::protocol,
                fmt::format("a {} frame is not expected here", to_string(header->type))});
    return false;
  }
  next_header_read_ = 0;
  header_ = *header;
  place_ = place.first(header->payload_bytes);
  payload_read_ = 0;
  return true;
}

bool AsioTcpLink::payload_complete() const {
  return payload_read_ == place_.size();
}

void AsioTcpLink::deliver() {
  const auto header = *header_;
  header_.reset();
  if (const auto good = verify_checksum(header, place_); !good) return break_down(good.error());
  events_.on_frame(header, place_);
}

void AsioTcpLink::discard() {
  std::array<std::byte, discarded_bytes> dropped;
  error_code code;
  socket_.read_some(asio::buffer(dropped), code);
  if (code && !must_wait(code)) return break_down(lost_connection(code));
  wait_readable();
}

void AsioTcpLink::finish() {
  if (closed_) return;
  finishing_ = true;
  if (!waiting_writable_) flush();
}

void AsioTcpLink::close() {
  closed_ = true;
  error_code ignored;
  socket_.close(ignored);
}

std::unique_ptr<Connection> AsioTcpLink::release() {
  if (closed_ || header_ || next_header_read_ > 0 || !queue_.empty()) return nullptr;
  closed_ = true;
  return std::make_unique<TcpConnection>(std::move(socket_));
}

LinkCounters AsioTcpLink::counters() {
  tcp_info about{};
  socklen_t size = sizeof about;
  // SAFETY: the kernel fills no more than `size` bytes; an error leaves zeros.
  static_cast<void>(::getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, &about, &size));
  return {received_bytes_, sent_frames_, about.tcpi_total_retrans};
}

void AsioTcpLink::break_down(Error reason) {
  if (closed_) return;
  close();
  events_.on_down(std::move(reason));
}

void AsioTcpLink::break_down_later(Error reason) {
  asio::post(socket_.get_executor(),
             [self = shared_from_this(), reason = std::move(reason)] { self->break_down(reason); });
}

}  // namespace understudy::replication
