#include "checkpointer/nbd_server.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <utility>

#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

bool send_all(int socket, std::span<const std::byte> first, std::span<const std::byte> second) {
  while (!first.empty() || !second.empty()) {
    std::array<iovec, 2> parts{};
    // SAFETY: sendmsg reads only, whatever its type says.
    parts[0] = {const_cast<std::byte*>(first.data()), first.size()};    // NOLINT
    parts[1] = {const_cast<std::byte*>(second.data()), second.size()};  // NOLINT
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const auto sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    const auto of_first = std::min(first.size(), static_cast<std::size_t>(sent));
    first = first.subspan(of_first);
    second = second.subspan(static_cast<std::size_t>(sent) - of_first);
  }
  return true;
}

}  // namespace

NbdServer::NbdServer(UniqueFd socket, std::vector<Export> exports)
    : socket_{std::move(socket)},
      exports_{std::move(exports)},
      read_buffer_(limits::nbd_request_bytes),
      flusher_{[this] { flush_all(); }},
      thread_{[this] { serve(); }} {}

NbdServer::~NbdServer() {
  ::shutdown(socket_.get(), SHUT_RDWR);
  wait();
}

void NbdServer::wait() {
  if (thread_.joinable()) thread_.join();
  if (flusher_.joinable()) flusher_.join();
}

void NbdServer::serve() {
  std::array<std::byte, nbd::request_bytes> bytes{};
  bool goes_on = negotiate();
  while (goes_on && receive(bytes)) {
    const auto request = nbd::decode_request(bytes);
    goes_on = request && handle(*request);
  }
  const std::lock_guard lock{mutex_};
  over_ = true;
  changed_.notify_all();
}

bool NbdServer::negotiate() {
  std::vector<nbd::Export> offered;
  for (const auto& one : exports_) offered.push_back({one.name, one.device->bytes()});
  nbd::Negotiation negotiation{std::move(offered)};
  if (!send_all(socket_.get(), nbd::Negotiation::greeting(), {})) return false;
  std::vector<std::byte> bytes;
  while (true) {
    bytes.resize(negotiation.wanted());
    if (!receive(bytes)) return false;
    const auto step = negotiation.take(bytes);
    if (!send_all(socket_.get(), step.reply, {})) return false;
    if (step.next == nbd::Negotiation::Next::close) return false;
    if (step.next == nbd::Negotiation::Next::serve) break;
  }
  device_ = exports_[negotiation.chosen()].device;
  return true;
}

/// False: the connection ends.
bool NbdServer::handle(const nbd::Request& request) {
  const auto refused = nbd::check_request(request, device_->bytes());
  if (refused) return skip(nbd::payload_bytes(request)) && reply(request.handle, refused);
  switch (request.command) {
    case nbd::Command::read: return read(request);
    case nbd::Command::write: return write(request);
    case nbd::Command::flush: flush_later(request.handle); return true;
    case nbd::Command::trim:
      return finish(request, device_->zero(request.offset, request.bytes, Hole::allowed));
    case nbd::Command::write_zeroes: {
      const bool keep = (request.flags & nbd::flag_no_hole) != 0;
      return finish(request, device_->zero(request.offset, request.bytes,
                                           keep ? Hole::forbidden : Hole::allowed));
    }
    case nbd::Command::disconnect: return false;
  }
  return false;
}

bool NbdServer::read(const nbd::Request& request) {
  const auto data = std::span{read_buffer_}.first(request.bytes);
  if (const auto error = device_->read(request.offset, data)) return reply(request.handle, error);
  return reply(request.handle, {}, data);
}

bool NbdServer::write(const nbd::Request& request) {
  std::vector<std::byte> data(request.bytes);
  if (!receive(data)) return false;
  return finish(request, device_->write(request.offset, std::move(data)));
}

bool NbdServer::finish(const nbd::Request& request, std::error_code error) {
  if (error || (request.flags & nbd::flag_fua) == 0) return reply(request.handle, error);
  flush_later(request.handle);
  return true;
}

void NbdServer::flush_later(std::uint64_t handle) {
  std::unique_lock lock{mutex_};
  // A client that asks for more is read no further meanwhile.
  changed_.wait(lock, [this] { return flushes_.size() < limits::nbd_waiting_flushes; });
  flushes_.push_back(handle);
  changed_.notify_all();
}

void NbdServer::flush_all() {
  while (true) {
    std::deque<std::uint64_t> handles;
    {
      std::unique_lock lock{mutex_};
      changed_.wait(lock, [this] { return over_ || !flushes_.empty(); });
      if (flushes_.empty()) break;
      std::swap(handles, flushes_);
      changed_.notify_all();
    }
    const auto error = device_->flush();
    for (const auto handle : handles) static_cast<void>(reply(handle, error));
  }
  ::shutdown(socket_.get(), SHUT_RDWR);  // the client waits for it
}

bool NbdServer::reply(std::uint64_t handle, std::error_code error,
                      std::span<const std::byte> data) {
  const std::lock_guard lock{send_mutex_};
  return send_all(socket_.get(), nbd::encode_reply(handle, error), data);
}

bool NbdServer::receive(std::span<std::byte> out) {
  while (!out.empty()) {
    const auto got = ::recv(socket_.get(), out.data(), out.size(), MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

bool NbdServer::skip(std::uint32_t bytes) {
  if (bytes > limits::nbd_skipped_bytes) return false;
  while (bytes > 0) {
    const auto size = std::min<std::uint32_t>(bytes, limits::nbd_request_bytes);
    if (!receive(std::span{read_buffer_}.first(size))) return false;
    bytes -= size;
  }
  return true;
}

}  // namespace understudy::checkpointer
