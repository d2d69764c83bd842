#include "replication/control_frame.hpp"

#include <algorithm>

#include "config/assert.hpp"
#include "replication/messages.pb.h"

namespace understudy::replication {
namespace {

constexpr std::size_t reason_bytes = 4096;

}  // namespace

Result<std::vector<std::byte>> encode_message(FrameType type, SessionId session,
                                              const google::protobuf::MessageLite& message) {
  const auto size = message.ByteSizeLong();
  if (size > limits::frame_payload_bytes) {
    return fail(ErrorKind::limit, "a {} message of {} bytes, at most {} are possible",
                to_string(type), size, limits::frame_payload_bytes);
  }
  std::vector<std::byte> frame(limits::frame_header_bytes + size);
  const auto payload = std::span{frame}.subspan(limits::frame_header_bytes);
  const bool written = message.SerializeToArray(payload.data(), static_cast<int>(size));
  UNDERSTUDY_ASSERT(written, "a message of known size is written");
  std::ranges::copy(encode_header({.type = type, .session = session}, payload), frame.begin());
  return frame;
}

std::vector<std::byte> encode_bye(SessionId session, std::string_view reason) {
  Bye bye;
  // Bytes that are not UTF-8 would not survive Protocol Buffers; a cut must not make such.
  for (const char c : reason.substr(0, reason_bytes)) {
    *bye.mutable_reason() += static_cast<unsigned char>(c) < 0x80 ? c : '?';
  }
  auto frame = encode_message(FrameType::bye, session, bye);
  UNDERSTUDY_ASSERT(frame.has_value(), "a bye fits its frame");
  return std::move(*frame);
}

std::vector<std::byte> encode_unnumbered(FrameType type, SessionId session, Epoch epoch,
                                         std::span<const std::byte> payload) {
  std::vector<std::byte> frame(limits::frame_header_bytes + payload.size());
  std::ranges::copy(payload, frame.begin() + limits::frame_header_bytes);
  std::ranges::copy(encode_header({.type = type, .session = session, .epoch = epoch}, payload),
                    frame.begin());
  return frame;
}

HeaderBytes encode_signal(FrameType type, SessionId session) {
  return encode_header({.type = type, .session = session}, {});
}

Result<> decode_message(std::span<const std::byte> payload, FrameType type,
                        google::protobuf::MessageLite& message) {
  if (message.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return {};
  return fail(ErrorKind::protocol, "the contents of a {} frame are damaged", to_string(type));
}

}  // namespace understudy::replication
