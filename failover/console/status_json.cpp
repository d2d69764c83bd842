#include "failover/console/status_json.hpp"

#include <google/protobuf/util/json_util.h>

#include "config/assert.hpp"

namespace understudy::failover::console {

std::string json_text(const google::protobuf::Message& message, JsonLayout layout) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = layout == JsonLayout::pretty;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto printed = google::protobuf::util::MessageToJsonString(message, &text, options);
  UNDERSTUDY_ASSERT(printed.ok(), "messages without Any can always be printed");
  if (text.empty() || text.back() != '\n') text += "\n";
  return text;
}

}  // namespace understudy::failover::console
