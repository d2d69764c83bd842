// Structured log: one event per line, in logfmt, on stderr:
//   2026-11-21T02:51:07.123456Z info epoch.committed guest=pg epoch=42 commit_us=3120
// Thread-safe. The event's name comes first and never changes; what varies is in the fields.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace understudy::log {

enum class Level { debug, info, warning, error };

struct Field {
  std::string_view key;
  std::string value;
};

/// A field of any type that fmt can print.
template <class T>
[[nodiscard]] Field kv(std::string_view key, const T& value) {
  return {key, fmt::format("{}", value)};
}

/// Lines below `level` are dropped; `name` tells hosts apart where several log to one place.
void configure(Level level, std::string_view name);

void event(Level level, std::string_view name, std::initializer_list<Field> fields = {});

inline void debug(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::debug, name, fields);
}
inline void info(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::info, name, fields);
}
inline void warning(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::warning, name, fields);
}
inline void error(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::error, name, fields);
}

/// Whether `level` would be printed: spares the cost of fields in hot paths.
[[nodiscard]] bool enabled(Level level);

/// One line in logfmt, without time and level. Pure; quotes values that need it.
[[nodiscard]] std::string format_line(std::string_view name, std::initializer_list<Field> fields);

}  // namespace understudy::log
