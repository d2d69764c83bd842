#include "replication/receiver_machine.hpp"

#include <utility>

#include "config/assert.hpp"
#include "replication/control_frame.hpp"

namespace understudy::replication {
namespace {

constexpr std::size_t staging_unit = 64;

constexpr std::size_t rounded_up(std::size_t bytes) {
  return (bytes + staging_unit - 1) / staging_unit * staging_unit;
}

constexpr bool staged_until_seal(FrameType type) {
  return type == FrameType::pages || type == FrameType::disk;
}

template <class... Args>
ReceiverMachine::Violation violation(ErrorKind kind, fmt::format_string<Args...> text,
                                     Args&&... args) {
  return {Error{kind, fmt::format(text, std::forward<Args>(args)...)}};
}

}  // namespace

ReceiverMachine::ReceiverMachine(SessionId session, std::vector<std::uint64_t> block_bytes,
                                 std::span<std::byte> staging)
    : session_{session},
      block_bytes_{std::move(block_bytes)},
      staging_{staging},
      scratch_(limits::frame_payload_bytes) {}

bool ReceiverMachine::to_be_staged(const FrameHeader& header) const {
  return staged_until_seal(header.type) && header.session == session_ &&
         header.sequence == held_.next() && header.payload_bytes > 0 &&
         rounded_up(header.payload_bytes) <= staging_.size() - staged_bytes_;
}

std::span<std::byte> ReceiverMachine::place(const FrameHeader& header) {
  if (!to_be_staged(header)) return scratch_;
  return staging_.subspan(staged_bytes_, header.payload_bytes);
}

Result<ReceiverMachine::Delivery> ReceiverMachine::on_frame(const FrameHeader& header,
                                                            std::span<const std::byte> payload) {
  UNDERSTUDY_ASSERT(!sealed_, "a whole epoch is committed and applied before the next frame");
  if (header.session != session_) {
    return fail(ErrorKind::protocol, "the primary speaks of session {:016x}, ours is {:016x}",
                header.session.value(), session_.value());
  }
  if (sequenced(header.type)) return on_sequenced(header, payload);
  switch (header.type) {
    case FrameType::input: return Input{header.epoch, payload};
    case FrameType::ping: return Pinged{};
    case FrameType::pong: return Ignored{};
    case FrameType::bye: {
      Bye bye;
      UNDERSTUDY_CHECK(decode_message(payload, header.type, bye));
      return Left{bye.reason()};
    }
    default:
      return fail(ErrorKind::protocol, "a {} frame, which a primary does not send in a session",
                  to_string(header.type));
  }
}

Result<ReceiverMachine::Delivery> ReceiverMachine::on_sequenced(
    const FrameHeader& header, std::span<const std::byte> payload) {
  if (header.sequence <= held_) return Ignored{};
  if (header.sequence != held_.next()) {
    return fail(ErrorKind::protocol, "frame {} came where {} was due", header.sequence,
                held_.next());
  }
  const bool staged = to_be_staged(header);
  UNDERSTUDY_ASSERT(!staged || payload.data() == staging_.data() + staged_bytes_,
                    "what is staged is read to its place in the staging area");
  if (staged_until_seal(header.type) && payload.empty()) {
    return violation(ErrorKind::protocol, "a {} frame without contents", to_string(header.type));
  }
  if (staged_until_seal(header.type) && !staged) {
    return violation(ErrorKind::limit, "epoch {} takes more than the {} MiB that any epoch can",
                     header.epoch, staging_.size() >> 20U);
  }
  held_ = header.sequence;
  ++unacked_;
  switch (header.type) {
    case FrameType::sync_pages:
    case FrameType::sync_disk: return on_synchronisation(header.type, payload);
    case FrameType::pages:
    case FrameType::disk: return on_contents(header, payload);
    case FrameType::seal: return on_seal(header, payload);
    default: break;
  }
  Request request;
  if (auto good = decode_message(payload, header.type, request); !good) {
    return Violation{good.error()};
  }
  return Asked{std::move(request)};
}

ReceiverMachine::Delivery ReceiverMachine::on_synchronisation(
    FrameType type, std::span<const std::byte> payload) const {
  // It is applied at once: behind an epoch it would tear the image.
  if (committed_ != Epoch{} || !staged_.payloads.empty() || !staged_.disk_payloads.empty()) {
    return violation(ErrorKind::protocol, "a {} frame after the first epoch", to_string(type));
  }
  if (type == FrameType::sync_disk) return SyncDisk{payload};
  return SyncPages{payload};
}

ReceiverMachine::Delivery ReceiverMachine::on_contents(const FrameHeader& header,
                                                       std::span<const std::byte> payload) {
  if (header.epoch != committed_.next()) {
    return violation(ErrorKind::protocol, "a {} frame of epoch {} where epoch {} is due",
                     to_string(header.type), header.epoch, committed_.next());
  }
  staged_bytes_ += rounded_up(payload.size());
  if (header.type == FrameType::disk) {
    staged_.disk_payloads.push_back(payload);
    return Disk{payload};
  }
  staged_.payloads.push_back(payload);
  return Pages{payload};
}

ReceiverMachine::Delivery ReceiverMachine::on_seal(const FrameHeader& header,
                                                   std::span<const std::byte> payload) {
  Seal seal;
  auto good = decode_message(payload, header.type, seal);
  if (good) good = check_seal(header.epoch, seal);
  if (!good) return Violation{good.error()};
  staged_.epoch = header.epoch;
  staged_.seal = std::move(seal);
  sealed_ = true;
  return Sealed{};
}

Result<> ReceiverMachine::check_seal(Epoch epoch, const Seal& seal) const {
  if (epoch != committed_.next()) {
    return fail(ErrorKind::protocol, "the seal of epoch {} where epoch {} is due", epoch,
                committed_.next());
  }
  if (seal.frames() != staged_.payloads.size()) {
    return fail(ErrorKind::protocol, "the seal of epoch {} speaks of {} frames, but {} came", epoch,
                seal.frames(), staged_.payloads.size());
  }
  if (seal.disk_frames() != staged_.disk_payloads.size()) {
    return fail(ErrorKind::protocol, "the seal of epoch {} speaks of {} disk frames, but {} came",
                epoch, seal.disk_frames(), staged_.disk_payloads.size());
  }
  if (seal.device_bytes() > limits::device_state_bytes) {
    return fail(ErrorKind::limit, "device state of {} bytes, at most {} are allowed",
                seal.device_bytes(), limits::device_state_bytes);
  }
  if (!std::cmp_equal(seal.used_bytes_size(), block_bytes_.size())) {
    return fail(ErrorKind::protocol,
                "the seal of epoch {} speaks of {} RAM blocks, the offer of {}", epoch,
                seal.used_bytes_size(), block_bytes_.size());
  }
  for (std::size_t i = 0; i < block_bytes_.size(); ++i) {
    if (const auto used = seal.used_bytes(static_cast<int>(i)); used > block_bytes_[i]) {
      return fail(ErrorKind::protocol, "RAM block {} uses {} bytes, it has only {}", i, used,
                  block_bytes_[i]);
    }
  }
  return {};
}

HeaderBytes ReceiverMachine::commit() {
  UNDERSTUDY_ASSERT(sealed_ && staged_.epoch == committed_.next(),
                    "only a whole epoch is committed");
  committed_ = staged_.epoch;
  unacked_ = 0;
  return encode_header(
      {.type = FrameType::commit, .session = session_, .sequence = held_, .epoch = committed_}, {});
}

void ReceiverMachine::applied() {
  UNDERSTUDY_ASSERT(sealed_ && staged_.epoch == committed_, "commit comes first");
  sealed_ = false;
  staged_.payloads.clear();
  staged_.disk_payloads.clear();
  staged_bytes_ = 0;
}

HeaderBytes ReceiverMachine::ack() {
  unacked_ = 0;
  return encode_header(
      {.type = FrameType::ack, .session = session_, .sequence = held_, .epoch = committed_}, {});
}

HelloReply ReceiverMachine::welcome() const {
  HelloReply reply;
  reply.set_accepted(true);
  reply.set_takes_input(true);
  reply.set_next_sequence(held_.next().value());
  reply.set_committed_epoch(committed_.value());
  return reply;
}

}  // namespace understudy::replication
