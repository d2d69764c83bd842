#include "replication/sender_machine.hpp"

#include <algorithm>

#include "config/assert.hpp"
#include "replication/control_frame.hpp"

namespace understudy::replication {
namespace {

Error refusal(const HelloReply& reply) {
  std::string sentences;
  for (const auto& sentence : reply.refusal()) {
    sentences += (sentences.empty() ? "" : "\n") + sentence;
  }
  return {ErrorKind::incompatible,
          sentences.empty() ? "the backup refuses and does not say why" : sentences};
}

}  // namespace

void SenderMachine::submit(FrameBuffer buffer, FrameType type, Epoch epoch) {
  UNDERSTUDY_ASSERT(sequenced(type), "only sequenced frames are kept");
  UNDERSTUDY_ASSERT(kept_.size() < limits::frames_in_flight, "the pool bounds the window");
  if (phase_ == Phase::over) return;
  const Sequence sequence{acked_.value() + kept_.size() + 1};
  const auto header = encode_header(
      {.type = type, .session = session_, .sequence = sequence, .epoch = epoch}, buffer.payload());
  std::ranges::copy(header, buffer.header().begin());
  kept_.push_back({std::move(buffer), type, epoch});
}

void SenderMachine::on_connected(TimePoint at) {
  UNDERSTUDY_ASSERT(phase_ == Phase::down, "one link at a time");
  phase_ = Phase::greeting;
  taken_ = 0;
  heard_ = said_ = pinged_ = at;
}

void SenderMachine::on_down() {
  if (phase_ != Phase::over) phase_ = Phase::down;
  taken_ = 0;
}

Result<SenderMachine::Outcome> SenderMachine::on_frame(const FrameHeader& header,
                                                       std::span<const std::byte> payload,
                                                       TimePoint at) {
  if (header.session != session_) {
    return fail(ErrorKind::protocol, "the backup speaks of session {:016x}, ours is {:016x}",
                header.session.value(), session_.value());
  }
  heard_ = at;
  Outcome outcome;
  if (header.type == FrameType::bye) {
    Bye bye;
    UNDERSTUDY_CHECK(decode_message(payload, header.type, bye));
    outcome.over = Error{ErrorKind::closed, "the backup ended the session: " + bye.reason()};
    return outcome;
  }
  if (phase_ == Phase::greeting && header.type == FrameType::hello_reply) {
    return on_hello_reply(payload);
  }
  if (phase_ != Phase::running) {
    return fail(ErrorKind::protocol, "the backup sent a {} frame before its answer to our hello",
                to_string(header.type));
  }
  switch (header.type) {
    case FrameType::ping: outcome.ping = true; return outcome;
    case FrameType::pong: return outcome;
    case FrameType::ack: return on_claim(header.sequence, last_taken(), committed_);
    case FrameType::commit: return on_claim(header.sequence, last_taken(), header.epoch);
    case FrameType::reply:
      UNDERSTUDY_CHECK(decode_message(payload, header.type, outcome.reply.emplace()));
      return outcome;
    default:
      return fail(ErrorKind::protocol, "the backup sent a {} frame, which only a primary may send",
                  to_string(header.type));
  }
}

Result<SenderMachine::Outcome> SenderMachine::on_hello_reply(std::span<const std::byte> payload) {
  HelloReply reply;
  UNDERSTUDY_CHECK(decode_message(payload, FrameType::hello_reply, reply));
  Outcome outcome;
  if (!reply.accepted()) {
    outcome.over = refusal(reply);
    return outcome;
  }
  if (reply.next_sequence() <= acked_.value()) {
    outcome.over = Error{ErrorKind::protocol,
                         fmt::format("the backup has lost frames that it had acknowledged: it asks "
                                     "for number {}, but held all up to {}",
                                     reply.next_sequence(), acked_)};
    return outcome;
  }
  UNDERSTUDY_TRY(outcome, on_claim(Sequence{reply.next_sequence() - 1}, sent_,
                                   Epoch{reply.committed_epoch()}));
  phase_ = Phase::running;
  accepted_ = true;
  takes_input_ = reply.takes_input();
  outcome.welcomed = true;
  return outcome;
}

Result<SenderMachine::Outcome> SenderMachine::on_claim(Sequence held, Sequence possible,
                                                       Epoch epoch) {
  if (held > possible) {
    return fail(ErrorKind::protocol, "the backup acknowledges frame {}, but only {} were sent",
                held, possible);
  }
  if (!can_hold(epoch, held)) {
    return fail(ErrorKind::protocol,
                "the backup says that it holds epoch {} and frame {}, but epoch {} was sealed last",
                epoch, held, sealed_);
  }
  while (acked_ < held) {
    kept_.pop_front();
    if (taken_ > 0) --taken_;
    acked_ = acked_.next();
  }
  Outcome outcome;
  if (epoch > committed_) outcome.committed = committed_ = epoch;
  return outcome;
}

/// An epoch is held only with its seal.
bool SenderMachine::can_hold(Epoch epoch, Sequence held) const {
  if (epoch <= committed_) return true;
  if (epoch > sealed_) return false;
  auto sequence = acked_;
  return std::ranges::none_of(kept_, [&](const Kept& kept) {
    sequence = sequence.next();
    return sequence > held && kept.type == FrameType::seal && kept.epoch <= epoch;
  });
}

std::optional<std::span<const std::byte>> SenderMachine::next() const {
  if (phase_ != Phase::running || taken_ == kept_.size()) return std::nullopt;
  return kept_[taken_].buffer.frame();
}

void SenderMachine::taken(TimePoint at) {
  UNDERSTUDY_ASSERT(next().has_value(), "taken follows next");
  const auto& kept = kept_[taken_++];
  if (kept.type == FrameType::seal) sealed_ = std::max(sealed_, kept.epoch);
  if (last_taken() <= sent_) ++resent_;
  sent_ = std::max(sent_, last_taken());
  said_ = at;
}

SenderMachine::Due SenderMachine::due(TimePoint at) const {
  if (phase_ != Phase::running && (phase_ != Phase::greeting || !accepted_)) return Due::nothing;
  if (at - heard_ >= limits::link_silence) return Due::silent;
  if (phase_ == Phase::greeting) return Due::nothing;
  const auto last_ping = std::max(said_, pinged_);
  const bool idle = at - last_ping >= limits::link_keepalive;
  const bool unheard = at - std::max(heard_, pinged_) >= limits::link_keepalive;
  return idle || unheard ? Due::ping : Due::nothing;
}

void SenderMachine::pinged(TimePoint at) {
  pinged_ = at;
}

void SenderMachine::end() {
  phase_ = Phase::over;
  kept_.clear();
  taken_ = 0;
}

}  // namespace understudy::replication
