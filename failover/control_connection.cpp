#include "failover/control_connection.hpp"

#include <utility>

#include <boost/asio/write.hpp>

#include "config/log.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

/// A reply that is too long is our fault, and the client's to know.
std::string frame_of(const control::Reply& reply) {
  if (auto frame = encode_control(reply, limits::control_reply_bytes)) return *std::move(frame);
  const auto error = error_reply({ErrorKind::limit, "the answer is too long for the control API"});
  return *encode_control(error, limits::control_reply_bytes);
}

}  // namespace

ControlConnection::ControlConnection(Socket socket, HandleCall handle, OnClosed on_closed)
    : socket_{std::move(socket)},
      deadline_{socket_.get_executor()},
      handle_{std::move(handle)},
      on_closed_{std::move(on_closed)} {}

void ControlConnection::start() {
  arm_deadline();
  read();
}

void ControlConnection::refuse(const Error& error) {
  finish(error_reply(error));
}

void ControlConnection::close() {
  if (!socket_.is_open()) return;
  error_code ignored;
  socket_.close(ignored);
  deadline_.cancel();
  if (auto on_closed = std::exchange(on_closed_, nullptr)) on_closed(shared_from_this());
}

void ControlConnection::progress(const control::Progress& progress) {
  if (finished_ || !socket_.is_open()) return;
  control::Reply reply;
  *reply.mutable_progress() = progress;
  replies_.progress(frame_of(reply));
  write();
}

void ControlConnection::finish(const control::Reply& reply) {
  if (!socket_.is_open() || std::exchange(finished_, true)) return;
  replies_.last(frame_of(reply));
  arm_deadline();
  write();
}

/// Also while serving: that is how a client's going away is noticed.
void ControlConnection::read() {
  socket_.async_read_some(asio::buffer(chunk_),
                          [self = shared_from_this()](error_code error, std::size_t count) {
                            if (!error) return self->on_bytes(count);
                            if (!self->finished_) self->close();  // else the reply is on its way
                          });
}

void ControlConnection::on_bytes(std::size_t count) {
  if (!socket_.is_open() || finished_) return;
  if (!serving_) {
    decoder_.append({chunk_.data(), count});
    const auto body = decoder_.next();
    if (!body) return refuse(body.error());
    if (*body) serve(**body);
  }
  read();
}

void ControlConnection::serve(const std::string& body) {
  serving_ = true;
  deadline_.cancel();
  auto request = parse_control<control::Request>(body);
  if (!request) return refuse(request.error());
  if (request->what_case() == control::Request::WHAT_NOT_SET) {
    return refuse({ErrorKind::invalid,
                   "a request that this understudyd does not know; is it older than the client?"});
  }
  handle_(make_call(shared_from_this(), *std::move(request)));
}

void ControlConnection::write() {
  const auto* next = replies_.next();
  if (next == nullptr) return;
  asio::async_write(socket_, asio::buffer(*next),
                    [self = shared_from_this()](error_code error, std::size_t /*count*/) {
                      if (error || self->replies_.written()) return self->close();
                      self->write();
                    });
}

void ControlConnection::arm_deadline() {
  deadline_.expires_after(limits::control_exchange);
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    if (error || !self->socket_.is_open()) return;
    log::debug("control.client_too_slow");
    self->close();
  });
}

}  // namespace understudy::failover
