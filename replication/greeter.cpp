#include "replication/greeter.hpp"

#include <utility>

#include "config/log.hpp"
#include "replication/control_frame.hpp"
#include "replication/greeting.hpp"

namespace understudy::replication {

Greeter::Greeter(asio::io_context& io, std::string peer, Host host)
    : host_{std::move(host)}, peer_{std::move(peer)}, patience_{io} {}

void Greeter::start(asio::io_context& io, std::unique_ptr<Connection> connection, Host host) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  const std::shared_ptr<Greeter> greeter{new Greeter{io, connection->peer(), std::move(host)}};
  greeter->link_ = connection->start(io, *greeter);
  greeter->patience_.expires_after(limits::link_connect);
  // The timer owns the greeter: it dies after the timer's end, and its link before that.
  greeter->patience_.async_wait([greeter](const boost::system::error_code& cancelled) {
    if (!cancelled) greeter->give_up();
  });
}

std::span<std::byte> Greeter::place(const FrameHeader& header) {
  if (header.type != FrameType::hello) return {};
  payload_.resize(limits::frame_payload_bytes);
  return payload_;
}

void Greeter::on_frame(const FrameHeader& header, std::span<const std::byte> payload) {
  const auto take = hear(header, payload);
  if (!take) return refuse(header.session, take.error());
  auto connection = link_->release();
  if (!connection) return on_down({ErrorKind::io, "its connection cannot be handed on"});
  (*take)(std::move(connection));
  leave();
}

Result<Greeter::Take> Greeter::hear(const FrameHeader& header,
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

void Greeter::refuse(SessionId session, const Error& why) {
  note(why.message);
  const auto reply = encode_message(FrameType::hello_reply, session, refusal(why.message));
  if (!reply || !link_->send_copy(*reply)) return leave();
  link_->finish();
}

void Greeter::on_down(Error reason) {
  if (const auto bytes = link_->counters().received_bytes; bytes > 0) {
    note(fmt::format("{} ({} bytes came)", reason.message, bytes));
  } else {
    log::debug("replication.probed", {log::kv("from", peer_)});
  }
  leave();
}

void Greeter::give_up() {
  const auto patience = std::chrono::duration_cast<seconds>(limits::link_connect).count();
  const auto bytes = link_ ? link_->counters().received_bytes : 0;
  note(bytes > 0
           ? fmt::format("{} bytes of a hello came, and not the rest within {} s", bytes, patience)
           : fmt::format("it said nothing within {} s", patience));
  leave();
}

/// What becomes of the connection after its refusal is no news.
void Greeter::note(const std::string& why) {
  if (!std::exchange(noted_, true)) host_.refusals.refused(peer_, why);
}

void Greeter::leave() {
  if (link_) std::exchange(link_, nullptr)->close();
  patience_.cancel();
  if (host_.gone) std::exchange(host_.gone, nullptr)();
}

}  // namespace understudy::replication
