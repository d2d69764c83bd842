#include "replication/tcp_greeter.hpp"

#include <utility>

#include "config/log.hpp"
#include "replication/control_frame.hpp"
#include "replication/greeting.hpp"

namespace understudy::replication {

std::string TcpGreeter::peer_name(const asio::ip::tcp::socket& socket) {
  boost::system::error_code code;
  const auto peer = socket.remote_endpoint(code);
  return code ? "?" : fmt::format("{}:{}", peer.address().to_string(), peer.port());
}

TcpGreeter::TcpGreeter(asio::ip::tcp::socket& socket, Host host)
    : host_{std::move(host)}, peer_{peer_name(socket)}, patience_{socket.get_executor()} {}

void TcpGreeter::start(asio::ip::tcp::socket socket, Host host) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  const std::shared_ptr<TcpGreeter> greeter{new TcpGreeter{socket, std::move(host)}};
  greeter->link_ = AsioTcpLink::start(std::move(socket), *greeter, greeter->host_.credentials,
                                      HandshakeSide::server);
  greeter->patience_.expires_after(limits::link_connect);
  // The timer owns the greeter: it dies after the timer's end, and its link before that.
  greeter->patience_.async_wait([greeter](const boost::system::error_code& cancelled) {
    if (!cancelled) greeter->give_up();
  });
}

std::span<std::byte> TcpGreeter::place(const FrameHeader& header) {
  if (header.type != FrameType::hello) return {};
  payload_.resize(limits::frame_payload_bytes);
  return payload_;
}

void TcpGreeter::on_frame(const FrameHeader& header, std::span<const std::byte> payload) {
  const auto take = hear(header, payload);
  if (!take) return refuse(header.session, take.error());
  auto connection = link_->release();
  if (!connection) return on_down({ErrorKind::io, "its connection cannot be handed on"});
  (*take)(std::move(*connection));
  leave();
}

Result<TcpGreeter::Take> TcpGreeter::hear(const FrameHeader& header,
                                          std::span<const std::byte> payload) const {
  Hello hello;
  UNDERSTUDY_CHECK(decode_message(payload, header.type, hello));
  std::string sentences;
  for (const auto& objection : objections(hello, host_.cluster, host_.name)) {
    sentences += (sentences.empty() ? "" : "\n") + objection;
  }
  if (!sentences.empty()) return fail(Error{ErrorKind::incompatible, sentences});
  return host_.decide(header.session, hello);
}

void TcpGreeter::refuse(SessionId session, const Error& why) {
  note(why.message);
  const auto reply = encode_message(FrameType::hello_reply, session, refusal(why.message));
  if (!reply || !link_->send_copy(*reply)) return leave();
  link_->finish();
}

void TcpGreeter::on_down(Error reason) {
  if (const auto bytes = link_->received_bytes(); bytes > 0) {
    note(fmt::format("{} ({} bytes came)", reason.message, bytes));
  } else {
    log::debug("replication.probed", {log::kv("from", peer_)});
  }
  leave();
}

void TcpGreeter::give_up() {
  const auto patience = std::chrono::duration_cast<seconds>(limits::link_connect).count();
  const auto bytes = link_ ? link_->received_bytes() : 0;
  note(bytes > 0
           ? fmt::format("{} bytes of a hello came, and not the rest within {} s", bytes, patience)
           : fmt::format("it said nothing within {} s", patience));
  leave();
}

/// What becomes of the connection after its refusal is no news.
void TcpGreeter::note(const std::string& why) {
  if (!std::exchange(noted_, true)) host_.refusals.refused(peer_, why);
}

void TcpGreeter::leave() {
  if (link_) std::exchange(link_, nullptr)->close();
  patience_.cancel();
  if (host_.gone) std::exchange(host_.gone, nullptr)();
}

}  // namespace understudy::replication
