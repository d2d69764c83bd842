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

std::shared_ptr<AsioTcpLink> AsioTcpLink::start(asio::ip::tcp::socket socket, LinkEvents& events,
                                                std::shared_ptr<const Credentials> credentials,
                                                HandshakeSide side) {
  auto stream = FrameStream::begin(std::move(credentials), side);
  std::shared_ptr<AsioTcpLink> link{
      // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
      new AsioTcpLink{std::move(socket), events, stream ? std::move(*stream) : FrameStream{}}};
  tune(link->socket_.native_handle());
  if (stream) {
    link->begin();
  } else {
    link->finishing_ = true;  // nothing may leave in clear text
    link->break_down_later(stream.error());
  }
  return link;
}

std::shared_ptr<AsioTcpLink> AsioTcpLink::start(asio::ip::tcp::socket socket, LinkEvents& events,
                                                FrameStream stream) {
  std::shared_ptr<AsioTcpLink> link{
      // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
      new AsioTcpLink{std::move(socket), events, std::move(stream)}};
  link->begin();
  return link;
}

AsioTcpLink::AsioTcpLink(asio::ip::tcp::socket socket, LinkEvents& events, FrameStream stream)
    : socket_{std::move(socket)}, events_{events}, stream_{std::move(stream)} {
  gather_.reserve(gathered_frames);
  error_code ignored;
  socket_.non_blocking(true, ignored);
}

/// Not at once: something may have been read ahead, and nothing is delivered inside `start`.
void AsioTcpLink::begin() {
  if (const auto first = stream_.take_output(); !first.empty()) {
    queue_.push_back(copy(first));
    flush();
  }
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (!self->closed_) self->on_readable();
  });
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
  return !closed_ && !finishing_ && queue_.size() + waiting_.size() < limits::link_queue_frames;
}

bool AsioTcpLink::send(std::span<const std::byte> frame) {
  if (!accepts()) {
    refused_ = true;
    return false;
  }
  ++sent_frames_;
  if (stream_.ready()) {
    queue_.push_back(stream_.secured() ? sealed(frame) : Outgoing{nullptr, frame});
    if (!waiting_writable_) flush();
  } else {
    waiting_.push_back({nullptr, frame});
  }
  return true;
}

bool AsioTcpLink::send_copy(std::span<const std::byte> frame) {
  if (!accepts()) return false;
  ++sent_frames_;
  if (stream_.ready()) {
    queue_.push_back(stream_.secured() ? sealed(frame) : copy(frame));
    if (!waiting_writable_) flush();
  } else {
    waiting_.push_back(copy(frame));
  }
  return true;
}

AsioTcpLink::Buffer AsioTcpLink::take_buffer() {
  if (spare_.empty()) return std::make_unique_for_overwrite<std::byte[]>(buffer_bytes);
  auto buffer = std::move(spare_.back());
  spare_.pop_back();
  return buffer;
}

AsioTcpLink::Outgoing AsioTcpLink::copy(std::span<const std::byte> bytes) {
  UNDERSTUDY_ASSERT(bytes.size() <= buffer_bytes, "a frame has its limit");
  auto buffer = take_buffer();
  std::ranges::copy(bytes, buffer.get());
  const std::span whole{buffer.get(), bytes.size()};
  return {std::move(buffer), whole};
}

/// The one pass over a frame on its way out.
AsioTcpLink::Outgoing AsioTcpLink::sealed(std::span<const std::byte> frame) {
  UNDERSTUDY_ASSERT(frame.size() <= limits::frame_bytes, "a frame has its limit");
  auto buffer = take_buffer();
  const std::span record{buffer.get(), frame.size() + FrameStream::overhead_bytes};
  stream_.seal(frame, record);
  return {std::move(buffer), record};
}

void AsioTcpLink::seal_waiting() {
  for (auto& waiting : waiting_) {
    queue_.push_back(sealed(waiting.bytes));
    if (waiting.buffer) spare_.push_back(std::move(waiting.buffer));
  }
  waiting_.clear();
  if (!waiting_writable_) flush();
  tell_writable();
}

void AsioTcpLink::flush() {
  while (!queue_.empty() && !closed_ && !waiting_writable_) write_some();
  if (queue_.empty() && waiting_.empty() && finishing_ && !closed_) {
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
    if (!first.empty()) continue;
    if (auto& buffer = queue_.front().buffer) spare_.push_back(std::move(buffer));
    queue_.pop_front();
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
                       self->tell_writable();
                     });
}

void AsioTcpLink::tell_writable() {
  const bool room = queue_.size() + waiting_.size() <= limits::link_queue_frames / 2;
  if (room && accepts() && std::exchange(refused_, false)) events_.on_writable();
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
  while (!closed_) {
    if (finishing_ && stream_.ready()) return discard();
    const auto step = stream_.advance();
    if (!step) {
      say_last_word();
      return break_down(step.error());
    }
    if (const auto answer = stream_.take_output(); !answer.empty()) {
      queue_.push_back(copy(answer));
      if (!waiting_writable_) flush();
    }
    switch (*step) {
      case FrameStream::Step::more:
        if (!read_some()) return;
        break;
      case FrameStream::Step::ready: seal_waiting(); break;
      case FrameStream::Step::header:
        if (!place_frame()) return;
        break;
      case FrameStream::Step::frame: return deliver();
    }
  }
}

/// False: there is nothing to read now, or never again.
bool AsioTcpLink::read_some() {
  const auto room = stream_.room();
  const std::array buffers{asio::mutable_buffer{room[0].data(), room[0].size()},
                           asio::mutable_buffer{room[1].data(), room[1].size()}};
  error_code code;
  const auto got = socket_.read_some(buffers, code);
  if (must_wait(code)) {
    wait_readable();
    return false;
  }
  if (code) {
    break_down(code == asio::error::eof ? stream_.end() : lost_connection(code));
    return false;
  }
  received_bytes_ += got;
  stream_.filled(got);
  return true;
}

/// False: the link is down.
bool AsioTcpLink::place_frame() {
  const auto header = stream_.header();
  const auto place = events_.place(header);
  if (closed_) return false;
  if (place.size() < header.payload_bytes || place.empty()) {
    break_down({ErrorKind::protocol,
                fmt::format("a {} frame is not expected here", to_string(header.type))});
    return false;
  }
  stream_.place(place);
  return true;
}

void AsioTcpLink::deliver() {
  const auto header = stream_.header();
  events_.on_frame(header, stream_.payload());
  if (closed_) return;
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (!self->closed_) self->on_readable();
  });
}

void AsioTcpLink::discard() {
  std::array<std::byte, discarded_bytes> dropped;
  error_code code;
  socket_.read_some(asio::buffer(dropped), code);
  if (code == asio::error::eof) {
    return break_down({ErrorKind::closed, "the peer closed the connection"});
  }
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
  if (closed_ || !stream_.between_frames() || !queue_.empty() || !waiting_.empty()) return nullptr;
  closed_ = true;
  return std::make_unique<TcpConnection>(std::move(socket_), std::move(stream_));
}

LinkCounters AsioTcpLink::counters() {
  tcp_info about{};
  socklen_t size = sizeof about;
  // SAFETY: the kernel fills no more than `size` bytes; an error leaves zeros.
  static_cast<void>(::getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, &about, &size));
  return {received_bytes_, sent_frames_, about.tcpi_total_retrans};
}

/// A peer that lacks the key, or has one that we lack, shall know it. It may not arrive.
void AsioTcpLink::say_last_word() {
  const auto word = stream_.take_output();
  if (word.empty() || !queue_.empty()) return;
  error_code ignored;
  socket_.write_some(asio::buffer(word), ignored);
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  // What is left unread would turn the end of the connection into a reset.
  std::array<std::byte, discarded_bytes> dropped;
  socket_.read_some(asio::buffer(dropped), ignored);
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
