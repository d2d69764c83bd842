#include "failover/console/text.hpp"

#include <algorithm>
#include <array>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace understudy::failover::console {

std::string duration_text(double microseconds) {
  if (microseconds < 1e3) return fmt::format("{:.0f} us", microseconds);
  if (microseconds < 1e6) return fmt::format("{:.1f} ms", microseconds / 1e3);
  if (microseconds < 120e6) return fmt::format("{:.1f} s", microseconds / 1e6);
  if (microseconds < 7200e6) return fmt::format("{:.0f} min", microseconds / 60e6);
  return fmt::format("{:.1f} h", microseconds / 3600e6);
}

std::string span_text(std::uint64_t microseconds) {
  return duration_text(static_cast<double>(microseconds));
}

std::string bytes_text(double bytes) {
  constexpr std::array<const char*, 5> units{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{:.0f} B", bytes);
  std::size_t unit = 0;
  bytes /= 1024;
  while (bytes >= 1024 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", bytes, units.at(unit));
}

std::string count_text(std::uint64_t count) {
  auto digits = fmt::format("{}", count);
  for (auto at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string time_text(std::uint64_t unix_us) {
  const auto seconds = static_cast<std::time_t>(unix_us / 1'000'000);
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(seconds));
}

std::string clip(std::string_view text, std::size_t columns) {
  std::string out{text.substr(0, columns)};
  const auto harmful = [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; };
  std::replace_if(out.begin(), out.end(), harmful, '?');
  if (text.size() > columns && !out.empty()) out.back() = '~';
  return out;
}

std::string html_text(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '&': safe += "&amp;"; break;
      case '"': safe += "&quot;"; break;
      default: safe += c;
    }
  }
  return safe;
}

std::string Paint::operator()(std::string_view text, Colour colour) const {
  if (mode_ == Mode::plain || colour == Colour::none || text.empty()) return std::string{text};
  constexpr std::array<int, 6> codes{0, 31, 32, 33, 1, 2};
  return fmt::format("\x1b[{}m{}\x1b[0m", codes.at(static_cast<std::size_t>(colour)), text);
}

void Paragraph::add(std::string_view painted, std::size_t width) {
  const bool first = lines_.empty();
  if (!first && used_ + 1 + width > columns_) {
    lines_.append(1, '\n').append(indent_, ' ');
    used_ = indent_;
  } else if (!first) {
    lines_ += " ";
    ++used_;
  }
  lines_ += painted;
  used_ += width;
}

void Paragraph::add_text(std::string_view text) {
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const auto word = clip(text.substr(0, end), columns_ - indent_);
    if (!word.empty()) add(word, word.size());
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace understudy::failover::console
