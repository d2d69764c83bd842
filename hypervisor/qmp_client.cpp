#include "hypervisor/qmp_client.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "config/limits.hpp"

namespace understudy::hypervisor {
namespace {

namespace json = boost::json;

Result<> send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail(ErrorKind::closed, "QEMU's monitor is gone");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

}  // namespace

Result<QmpClient> QmpClient::open(UniqueFd socket, Duration patience) {
  QmpClient client{std::move(socket)};
  const auto deadline = now() + patience;
  UNDERSTUDY_TRY(const auto first, client.next(deadline));
  const auto* greeting = std::get_if<qmp::Greeting>(&first);
  if (greeting == nullptr) return fail(ErrorKind::protocol, "QEMU's monitor did not greet");
  client.version_ = greeting->version;
  UNDERSTUDY_CHECK(client.execute({"qmp_capabilities"}));
  return client;
}

Result<QmpClient::Ticket> QmpClient::send(const Command& command) {
  if (prepared_ == command) {
    prepared_.reset();
    UNDERSTUDY_CHECK(send_all(socket_.get(), "}"));
    return last_sent_;
  }
  UNDERSTUDY_CHECK(withdraw());
  UNDERSTUDY_CHECK(
      send_all(socket_.get(), qmp::command(command.name, command.arguments, ++last_sent_)));
  return last_sent_;
}

Result<> QmpClient::prepare(Command command) {
  if (prepared_ == command) return {};
  UNDERSTUDY_CHECK(withdraw());
  auto text = qmp::command(command.name, command.arguments, ++last_sent_);
  text.pop_back();
  prepared_ = std::move(command);
  return send_all(socket_.get(), text);
}

/// A member that QEMU does not know makes it refuse a command. Nobody has asked for its reply.
Result<> QmpClient::withdraw() {
  if (!prepared_) return {};
  prepared_.reset();
  withdrawn_ = last_sent_;
  return send_all(socket_.get(), R"(,"withdrawn":true})");
}

Result<json::value> QmpClient::await(Ticket ticket, Duration patience) {
  const auto deadline = now() + patience;
  while (true) {
    UNDERSTUDY_TRY(auto message, next(deadline));
    if (const auto* event = std::get_if<qmp::Event>(&message)) {
      if (handler_) handler_(*event);
    } else if (const auto* refusal = std::get_if<qmp::Refusal>(&message)) {
      if (refusal->id == withdrawn_) continue;
      return fail(ErrorKind::unavailable, "QEMU refused: {}", refusal->description);
    } else if (auto* done = std::get_if<qmp::Return>(&message); done && done->id == ticket) {
      return std::move(done->value);
    }
  }
}

Result<json::value> QmpClient::execute(const Command& command) {
  UNDERSTUDY_TRY(const auto ticket, send(command));
  auto reply = await(ticket, limits::monitor_reply);
  if (!reply) return fail(reply.error().within(command.name));
  return reply;
}

Result<std::string> QmpClient::human(std::string_view command_line) {
  json::object arguments{
      {"command-line", json::string_view{command_line.data(), command_line.size()}}};
  UNDERSTUDY_TRY(const auto reply, execute({"human-monitor-command", std::move(arguments)}));
  if (!reply.is_string()) return fail(ErrorKind::protocol, "{}: not a text", command_line);
  return std::string{reply.get_string()};
}

Result<> QmpClient::poll() {
  while (true) {
    const auto heard = wait_event(TimePoint::min());
    if (!heard && heard.error().kind == ErrorKind::timed_out) return {};
    UNDERSTUDY_CHECK(heard);
  }
}

Result<> QmpClient::wait_event(TimePoint deadline) {
  UNDERSTUDY_TRY(const auto message, next(deadline));
  if (const auto* event = std::get_if<qmp::Event>(&message); event && handler_) handler_(*event);
  return {};
}

Result<qmp::Message> QmpClient::next(TimePoint deadline) {
  while (true) {
    const auto end = buffer_.find('\n', parsed_);
    if (end != std::string::npos) {
      auto line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      parsed_ = 0;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return qmp::parse(line);
    }
    parsed_ = buffer_.size();
    if (buffer_.size() > limits::monitor_line_bytes) {
      return fail(ErrorKind::limit, "a line from QEMU's monitor is longer than {} bytes",
                  limits::monitor_line_bytes);
    }
    UNDERSTUDY_CHECK(fill(deadline));
  }
}

Result<> QmpClient::fill(TimePoint deadline) {
  const auto left =
      deadline == TimePoint::min() ? Duration{} : std::max(deadline - now(), Duration{});
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
  const timespec timeout{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  pollfd waiting{socket_.get(), POLLIN, 0};
  const int ready = ::ppoll(&waiting, 1, &timeout, nullptr);
  if (ready < 0 && errno == EINTR) return {};
  if (ready < 0) return fail_errno("waiting for QEMU's monitor");
  if (ready == 0) return fail(ErrorKind::timed_out, "QEMU's monitor does not answer");
  std::array<char, 16384> chunk;
  const auto got = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return {};
  if (got <= 0) return fail(ErrorKind::closed, "QEMU's monitor is gone");
  buffer_.append(chunk.data(), static_cast<std::size_t>(got));
  return {};
}

}  // namespace understudy::hypervisor
