// QEMU Machine Protocol: JSON objects; QEMU's are one per line. Pure. Source:
// docs/interop/qmp-spec.txt of QEMU.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "config/result.hpp"

namespace understudy::hypervisor::qmp {

struct Greeting {
  std::string version;  ///< "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"
};
struct Return {
  std::uint64_t id;
  boost::json::value value;
};
struct Refusal {
  std::uint64_t id;
  std::string description;
};
struct Event {
  std::string name;
  boost::json::object data;
};
using Message = std::variant<Greeting, Return, Refusal, Event>;

[[nodiscard]] Result<Message> parse(std::string_view line);

/// Without a line end: QEMU takes each byte for itself, which takes it some 10 microseconds.
[[nodiscard]] std::string command(std::string_view name, const boost::json::object& arguments,
                                  std::uint64_t id);

}  // namespace understudy::hypervisor::qmp
