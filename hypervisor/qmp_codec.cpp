#include "hypervisor/qmp_codec.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace understudy::hypervisor::qmp {
namespace {

namespace json = boost::json;

std::string text(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string{value->get_string()} : std::string{};
}

const json::object& child(const json::object& object, std::string_view key) {
  static const json::object none;
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : none;
}

std::uint64_t number(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return 0;
  boost::system::error_code ignored;
  return value->to_number<std::uint64_t>(ignored);
}

Message greeting(const json::object& hello) {
  const auto& version = child(hello, "version");
  const auto& qemu = child(version, "qemu");
  const auto package = text(version, "package");
  return Greeting{fmt::format("{}.{}.{}{}{}{}", number(qemu, "major"), number(qemu, "minor"),
                              number(qemu, "micro"), package.empty() ? "" : " (", package,
                              package.empty() ? "" : ")")};
}

}  // namespace

Result<Message> parse(std::string_view line) {
  boost::system::error_code error;
  auto parsed = json::parse({line.data(), line.size()}, error);
  if (error || !parsed.is_object()) {
    return fail(ErrorKind::protocol, "QEMU's monitor said what is not QMP: {}",
                line.substr(0, 120));
  }
  const auto& object = parsed.get_object();
  if (object.contains("QMP")) return greeting(child(object, "QMP"));
  if (object.contains("event")) return Event{text(object, "event"), child(object, "data")};
  const auto id = number(object, "id");
  if (object.contains("error")) return Refusal{id, text(child(object, "error"), "desc")};
  if (const auto* value = object.if_contains("return")) return Return{id, *value};
  return fail(ErrorKind::protocol, "QEMU's monitor sent an unknown message: {}",
              line.substr(0, 120));
}

std::string command(std::string_view name, const json::object& arguments, std::uint64_t id) {
  json::object object{{"execute", json::string_view{name.data(), name.size()}}, {"id", id}};
  if (!arguments.empty()) object["arguments"] = arguments;
  return json::serialize(object);
}

}  // namespace understudy::hypervisor::qmp
