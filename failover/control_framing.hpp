// How messages of the control API lie in the stream: length, 4 bytes, big-endian, then that many
// bytes of Protocol Buffers. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <google/protobuf/message_lite.h>

#include "config/result.hpp"

namespace understudy::failover {

/// `limit`: a message longer than `max_bytes`, which the other end would refuse.
[[nodiscard]] Result<std::string> encode_control(const google::protobuf::MessageLite& message,
                                                 std::size_t max_bytes);

/// Cuts a stream into message bodies. Holds at most one message of `max_bytes` and what came in the
/// same read behind it. After an error the stream is beyond repair.
class ControlDecoder {
 public:
  explicit ControlDecoder(std::size_t max_bytes) : max_bytes_{max_bytes} {}

  void append(std::string_view bytes) { buffer_.append(bytes); }

  /// The next whole body, nothing while it is incomplete, `protocol` for a length beyond the limit.
  [[nodiscard]] Result<std::optional<std::string>> next();

 private:
  std::size_t max_bytes_;
  std::string buffer_;
};

/// `protocol` when the bytes are not a Message.
template <class Message>
[[nodiscard]] Result<Message> parse_control(const std::string& body) {
  Message message;
  if (!message.ParseFromString(body)) {
    return fail(ErrorKind::protocol, "{} bytes that are not a {}", body.size(),
                Message::descriptor()->full_name());
  }
  return message;
}

}  // namespace understudy::failover
