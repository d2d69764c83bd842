// One message of the configuration under examination: what is wrong is said with its line and
// field. For the examinations only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include "config/limits.hpp"
#include "config/names.hpp"
#include "config/result.hpp"

namespace understudy {

/// Collects complaints with the line on which the field stands.
class Complaints : public google::protobuf::io::ErrorCollector {
 public:
  explicit Complaints(std::string_view origin) : origin_{origin} {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& text) override {
    add(fmt::format("{}:{}:{}: {}", origin_, line + 1, column + 1, text));
  }

  void at(int line, const google::protobuf::FieldDescriptor& field, const std::string& text) {
    constexpr std::string_view prefix = "understudy.config.";
    const auto place = line < 0 ? std::string{origin_} : fmt::format("{}:{}", origin_, line + 1);
    add(fmt::format("{}: {}: {}", place, field.full_name().substr(prefix.size()), text));
  }

  [[nodiscard]] Result<> result() const {
    if (text_.empty()) return {};
    return fail(ErrorKind::invalid, "{}", text_);
  }

 private:
  static constexpr std::size_t errors_shown = 20;

  void add(const std::string& line) {
    if (++count_ > errors_shown) return;
    if (!text_.empty()) text_ += '\n';
    text_ += line;
  }

  std::string_view origin_;
  std::string text_;
  std::size_t count_{0};
};

/// One message under examination: the value, its place in the file, and where to complain.
template <class T>
struct Examined {
  T& value;
  const google::protobuf::TextFormat::ParseInfoTree*
      place;  ///< of its fields; null where the message is not given
  int line;   ///< of the message, from 0; -1 for the file as a whole
  Complaints& complaints;

  /// A field that is not given is placed where its message begins.
  void complain(const char* name, const std::string& text, int index = -1) const {
    const auto& field = *descriptor(name);
    complaints.at(line_of(field, index), field, text);
  }
  void number(const char* field, std::uint64_t given, std::uint64_t low, std::uint64_t high) const {
    if (given < low || given > high) {
      complain(field, fmt::format("{} is out of range; give {} to {}", given, low, high));
    }
  }
  void name(const char* field, const std::string& given) const {
    if (!valid_name(given)) {
      complain(field, fmt::format("'{}' is not a name; use 1 to {} letters, digits, '-', '_', '.'",
                                  given, limits::name_length));
    }
  }
  void absolute_path(const char* field, const std::string& given) const {
    if (!given.empty() && given.front() != '/') {
      complain(field, fmt::format("'{}' is relative; give the whole path, from /", given));
    }
  }
  template <class U>
  [[nodiscard]] Examined<U> nested(U& inner, const char* name, int index = -1) const {
    const auto* field = descriptor(name);
    return {inner, place == nullptr ? nullptr : place->GetTreeForNested(field, index),
            line_of(*field, index), complaints};
  }

 private:
  [[nodiscard]] const google::protobuf::FieldDescriptor* descriptor(const char* name) const {
    return value.GetDescriptor()->FindFieldByName(name);
  }
  [[nodiscard]] int line_of(const google::protobuf::FieldDescriptor& field, int index) const {
    const int own = place == nullptr ? -1 : place->GetLocation(&field, index).line;
    return own < 0 ? line : own;
  }
};

}  // namespace understudy
