// Whole frames that are not kept until acknowledged: everything but pages and disk contents. Pure.
#pragma once

#include <vector>

#include <google/protobuf/message_lite.h>

#include "replication/frame_codec.hpp"

namespace understudy::replication {

/// `limit` when the message does not fit a frame.
[[nodiscard]] Result<std::vector<std::byte>> encode_message(
    FrameType type, SessionId session, const google::protobuf::MessageLite& message);

/// A bye always fits: a reason that is too long is cut.
[[nodiscard]] std::vector<std::byte> encode_bye(SessionId session, std::string_view reason);

/// One that is no message, nor kept for another link.
[[nodiscard]] std::vector<std::byte> encode_unnumbered(FrameType type, SessionId session,
                                                       Epoch epoch,
                                                       std::span<const std::byte> payload);

/// A ping or pong.
[[nodiscard]] HeaderBytes encode_signal(FrameType type, SessionId session);

/// `protocol` when the payload is no such message.
[[nodiscard]] Result<> decode_message(std::span<const std::byte> payload, FrameType type,
                                      google::protobuf::MessageLite& message);

}  // namespace understudy::replication
