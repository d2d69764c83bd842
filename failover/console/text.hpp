// How the console prints numbers and lines. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace understudy::failover::console {

/// "850 us", "3.4 ms", "12.0 s", "5 min", "3.5 h".
[[nodiscard]] std::string duration_text(double microseconds);
[[nodiscard]] std::string span_text(std::uint64_t microseconds);
/// "512 B", "1.2 KiB", "3.4 MiB".
[[nodiscard]] std::string bytes_text(double bytes);
/// "1,234,567".
[[nodiscard]] std::string count_text(std::uint64_t count);
/// "2026-11-21 02:51:07 UTC" of microseconds since 1970.
[[nodiscard]] std::string time_text(std::uint64_t unix_us);

/// At most `columns` wide, "~" at its end when cut; control characters become "?". What a daemon
/// reports may hold text of others, and must not drive a terminal.
[[nodiscard]] std::string clip(std::string_view text, std::size_t columns);

/// As the text of a page.
[[nodiscard]] std::string html_text(std::string_view text);

enum class Colour : std::uint8_t { none, red, green, yellow, bold, dim };

/// Colours words for a terminal, or leaves them alone.
class Paint {
 public:
  enum class Mode : std::uint8_t { plain, colour };
  explicit Paint(Mode mode) : mode_{mode} {}
  [[nodiscard]] std::string operator()(std::string_view text, Colour colour) const;

 private:
  Mode mode_;
};

/// Sets words into lines of at most `columns`, the second and further lines indented. Words may be
/// painted: their width is given apart.
class Paragraph {
 public:
  Paragraph(std::size_t columns, std::size_t indent) : columns_{columns}, indent_{indent} {}

  void add(std::string_view painted, std::size_t width);
  /// Plain text, broken at its spaces.
  void add_text(std::string_view text);
  [[nodiscard]] std::string text() && { return std::move(lines_) + "\n"; }

 private:
  std::size_t columns_;
  std::size_t indent_;
  std::size_t used_{};
  std::string lines_;
};

}  // namespace understudy::failover::console
