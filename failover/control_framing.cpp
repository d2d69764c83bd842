#include "failover/control_framing.hpp"

#include <cstdint>

namespace understudy::failover {
namespace {

constexpr std::size_t prefix_bytes = 4;

std::string encode_length(std::size_t length) {
  std::string prefix;
  for (unsigned shift = 32; shift > 0; shift -= 8) {
    prefix.push_back(static_cast<char>((length >> (shift - 8)) & 0xffU));
  }
  return prefix;
}

std::size_t decode_length(std::string_view prefix) {
  std::size_t length = 0;
  for (const char byte : prefix.substr(0, prefix_bytes)) {
    length = length << 8U | static_cast<unsigned char>(byte);
  }
  return length;
}

}  // namespace

Result<std::string> encode_control(const google::protobuf::MessageLite& message,
                                   std::size_t max_bytes) {
  const auto length = message.ByteSizeLong();
  if (length > max_bytes) {
    return fail(ErrorKind::limit, "a message of {} bytes; the control API carries at most {}",
                length, max_bytes);
  }
  auto frame = encode_length(length);
  message.AppendToString(&frame);
  return frame;
}

Result<std::optional<std::string>> ControlDecoder::next() {
  if (buffer_.size() < prefix_bytes) return std::nullopt;
  const auto length = decode_length(buffer_);
  if (length > max_bytes_) {
    return fail(ErrorKind::protocol, "a message of {} bytes was announced; at most {} are allowed",
                length, max_bytes_);
  }
  if (buffer_.size() < prefix_bytes + length) return std::nullopt;
  auto body = buffer_.substr(prefix_bytes, length);
  buffer_.erase(0, prefix_bytes + length);
  return body;
}

}  // namespace understudy::failover
