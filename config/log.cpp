#include "config/log.hpp"

#include <algorithm>
#include <iterator>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "config/assert.hpp"

namespace understudy {

void assertion_failed(const char* condition, const char* why, const char* file, int line) noexcept {
  fmt::print(stderr, "understudy: broken invariant: {} ({}) at {}:{}\n", why, condition, file,
             line);
  std::abort();
}

namespace log {
namespace {

std::shared_ptr<spdlog::logger>& logger() {
  static auto instance = [] {
    auto created = std::make_shared<spdlog::logger>(
        "understudy", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %l %v", spdlog::pattern_time_type::utc);
    created->flush_on(spdlog::level::debug);
    return created;
  }();
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warning: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
  }
  return spdlog::level::err;
}

bool plain(char c) {
  return c > ' ' && c != '"' && c != '=' && c != '\\' && c < '\x7f';
}

void append_value(std::string& line, std::string_view value) {
  if (!value.empty() && std::all_of(value.begin(), value.end(), plain)) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    if (c == '\n') {
      line += "\\n";
    } else if (static_cast<unsigned char>(c) < ' ') {
      fmt::format_to(std::back_inserter(line), "\\x{:02x}", static_cast<unsigned>(c));
    } else {
      line += c;
    }
  }
  line += '"';
}

}  // namespace

void configure(Level level, std::string_view name) {
  logger()->set_level(to_spdlog(level));
  if (!name.empty()) {
    logger()->set_pattern(fmt::format("%Y-%m-%dT%H:%M:%S.%fZ %l host={} %v", name),
                          spdlog::pattern_time_type::utc);
  }
}

bool enabled(Level level) {
  return logger()->should_log(to_spdlog(level));
}

std::string format_line(std::string_view name, std::initializer_list<Field> fields) {
  std::string line{name};
  for (const auto& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  return line;
}

void event(Level level, std::string_view name, std::initializer_list<Field> fields) {
  if (enabled(level)) logger()->log(to_spdlog(level), "{}", format_line(name, fields));
}

}  // namespace log
}  // namespace understudy
