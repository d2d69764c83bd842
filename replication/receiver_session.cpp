#include "replication/receiver_session.hpp"

#include <sys/mman.h>

#include <utility>

#include "config/assert.hpp"
#include "config/log.hpp"
#include "replication/control_frame.hpp"
#include "replication/greeting.hpp"

namespace understudy::replication {
namespace {

log::Field session_field(SessionId session) {
  return log::kv("session", fmt::format("{:016x}", session.value()));
}

}  // namespace

Result<> ReplicaEvents::on_sync_disk(std::span<const std::byte> /*payload*/) {
  return fail(ErrorKind::protocol, "disk contents for a guest without disks");
}

Result<> ReplicaEvents::on_check_disk(std::span<const std::byte> /*payload*/) {
  return fail(ErrorKind::protocol, "disk writes for a guest without disks");
}

ReceiverSession::ReceiverSession(Plan plan)
    : plan_{std::move(plan)},
      machine_{plan_.session, plan_.block_bytes, plan_.staging.bytes()},
      heard_{plan_.clock()} {}

void ReceiverSession::adopt(std::shared_ptr<Link> link) {
  if (over_) return turn_away(*link);
  if (link_) link_->close();
  link_ = std::move(link);
  heard_ = plan_.clock();
  {
    const std::lock_guard lock{mutex_};
    status_.connected = true;
  }
  const auto welcome =
      encode_message(FrameType::hello_reply, machine_.session(), machine_.welcome());
  UNDERSTUDY_ASSERT(welcome.has_value(), "a welcome fits its frame");
  say(*welcome);
  if (!last_reply_.empty()) say(last_reply_);
}

void ReceiverSession::tick() {
  const auto silence = plan_.clock() - heard_;
  if (link_ && silence >= limits::link_silence) {
    cut({ErrorKind::timed_out, "the primary is silent"});
  }
  if (!link_ && silence > limits::primary_away) {
    end({ErrorKind::timed_out, "the primary stayed away"});
  }
}

void ReceiverSession::end(const Error& reason) {
  if (std::exchange(over_, true)) return;
  {
    const std::lock_guard lock{mutex_};
    status_.connected = false;
  }
  const bool told = link_ && link_->send_copy(encode_bye(machine_.session(), reason.message));
  plan_.replica->on_end(reason);
  plan_.ended();
  if (told) return link_->finish();
  if (link_) link_->close();
  plan_.gone();
}

ReceiverStatus ReceiverSession::status() const {
  const std::lock_guard lock{mutex_};
  return status_;
}

std::span<std::byte> ReceiverSession::place(const FrameHeader& header) {
  return machine_.place(header);
}

void ReceiverSession::on_frame(const FrameHeader& header, std::span<const std::byte> payload) {
  heard_ = plan_.clock();
  const auto delivery = machine_.on_frame(header, payload);
  if (!delivery) return cut(delivery.error());
  std::visit([this](const auto& what) { handle(what); }, *delivery);
  if (over_) return;
  if (machine_.ack_due()) say(machine_.ack());
  const std::lock_guard lock{mutex_};
  status_.received_bytes += limits::frame_header_bytes + payload.size();
  status_.staged_bytes = machine_.staged_bytes();
}

void ReceiverSession::on_down(Error reason) {
  link_.reset();
  if (over_) return plan_.gone();
  log::info("replication.link_down",
            {session_field(machine_.session()), log::kv("why", reason.message)});
  const std::lock_guard lock{mutex_};
  status_.connected = false;
}

void ReceiverSession::handle(const Machine::Ignored& /*nothing*/) {}

void ReceiverSession::handle(const Machine::SyncPages& pages) {
  if (const auto good = plan_.replica->on_sync_pages(pages.payload); !good) end(good.error());
}

void ReceiverSession::handle(const Machine::Pages& pages) {
  if (const auto good = plan_.replica->on_check(pages.payload); !good) end(good.error());
}

void ReceiverSession::handle(const Machine::SyncDisk& contents) {
  if (const auto good = plan_.replica->on_sync_disk(contents.payload); !good) end(good.error());
}

void ReceiverSession::handle(const Machine::Disk& writes) {
  if (const auto good = plan_.replica->on_check_disk(writes.payload); !good) end(good.error());
}

void ReceiverSession::handle(const Machine::Sealed& /*sealed*/) {
  const auto& epoch = machine_.staged();
  if (const auto good = plan_.replica->on_check_seal(epoch.seal); !good) return end(good.error());
  // From here on the primary may let the epoch's output out: it must be applied whatever follows.
  say(machine_.commit());
  plan_.replica->on_commit(epoch);
  const auto used = machine_.staged_bytes();
  machine_.applied();
  give_back_staging(used);
  const std::lock_guard lock{mutex_};
  status_.committed = machine_.committed();
  status_.last_commit = plan_.clock();
}

void ReceiverSession::handle(const Machine::Asked& asked) {
  auto reply = encode_message(FrameType::reply, machine_.session(), answer(asked.request));
  if (!reply) {
    Reply too_long;
    too_long.set_id(asked.request.id());
    too_long.set_failed(reply.error().message);
    reply = encode_message(FrameType::reply, machine_.session(), too_long);
  }
  last_reply_ = std::move(*reply);
  say(last_reply_);
}

/// Nothing is read meanwhile: what the primary says waits in the kernel, and must not be missed.
Reply ReceiverSession::answer(const Request& request) {
  auto said = plan_.clock();
  auto reply = plan_.replica->on_request(request, [this, &said] {
    if (const auto at = plan_.clock(); at - said >= limits::link_keepalive) {
      said = at;
      say(encode_signal(FrameType::ping, machine_.session()));
    }
    return !plan_.end_waits();
  });
  heard_ = plan_.clock();
  return reply;
}

void ReceiverSession::handle(const Machine::Input& input) {
  if (const auto good = plan_.replica->on_input(input.epoch, input.payload); !good)
    end(good.error());
}

void ReceiverSession::handle(const Machine::Pinged& /*pinged*/) {
  say(encode_signal(FrameType::pong, machine_.session()));
}

void ReceiverSession::handle(const Machine::Left& left) {
  end({ErrorKind::closed, "the primary ended the session: " + left.reason});
}

void ReceiverSession::handle(const Machine::Violation& violation) {
  log::error("replication.violation",
             {session_field(machine_.session()), log::kv("why", violation.error.message)});
  end(violation.error);
}

void ReceiverSession::say(std::span<const std::byte> frame) {
  // Nothing is lost with the link: the next welcome says what we hold.
  if (link_ && !link_->send_copy(frame)) cut({ErrorKind::limit, "the primary does not listen"});
}

void ReceiverSession::turn_away(Link& link) const {
  const auto reply = encode_message(FrameType::hello_reply, machine_.session(),
                                    refusal("the session has ended: protect the guest again"));
  // Nothing of this peer is unread, so that closing at once does not cut the words off.
  static_cast<void>(reply && link.send_copy(*reply));
  link.close();
}

void ReceiverSession::cut(const Error& reason) {
  if (!link_) return;
  link_->close();
  on_down(reason);
}

void ReceiverSession::give_back_staging(std::size_t used) const {
  if (used <= limits::staging_kept_bytes) return;
  const auto back = plan_.staging.bytes().subspan(limits::staging_kept_bytes);
  // SAFETY: a part of our own private mapping that holds nothing any more. Failure costs memory
  // only.
  static_cast<void>(::madvise(back.data(), back.size(), MADV_DONTNEED));
}

}  // namespace understudy::replication
