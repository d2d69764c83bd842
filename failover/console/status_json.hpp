// Replies as JSON: the messages of control.proto by protobuf's mapping, field names as there,
// 64-bit numbers as strings.
#pragma once

#include <string>

#include <google/protobuf/message.h>

namespace understudy::failover::console {

enum class JsonLayout : std::uint8_t { pretty, line };

/// Ends with a line end. Numbers, flags and texts that are zero or empty are there as well.
[[nodiscard]] std::string json_text(const google::protobuf::Message& message, JsonLayout layout);

}  // namespace understudy::failover::console
