// The validated configuration of this host.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "config/config.pb.h"
#include "config/result.hpp"
#include "config/types.hpp"

namespace understudy {

/// A Config that holds what this header promises: names are unique and well-formed, addresses
/// parse, `this_host` is one of the hosts, every number lies within limits.hpp, every default is
/// filled in.
class Settings {
 public:
  /// Errors name the file, line and field, and what would be right; several are reported at once.
  [[nodiscard]] static Result<Settings> load(const std::filesystem::path& file);

  /// `origin` stands for the file's name in errors.
  [[nodiscard]] static Result<Settings> parse(const std::string& text, std::string_view origin);

  [[nodiscard]] const config::Config& config() const { return config_; }
  [[nodiscard]] const config::Host& this_host() const { return *find_host(config_.this_host()); }
  /// nullptr when there is none.
  [[nodiscard]] const config::Host* find_host(std::string_view name) const;
  [[nodiscard]] const config::Host* find_host(NodeId id) const;
  [[nodiscard]] const config::Guest* find_guest(std::string_view name) const;
  [[nodiscard]] NodeId this_node() const { return NodeId{this_host().node_id()}; }
  [[nodiscard]] std::size_t majority() const {
    return static_cast<std::size_t>(config_.host_size()) / 2 + 1;
  }

 private:
  explicit Settings(config::Config config) : config_{std::move(config)} {}
  config::Config config_;
};

/// A drill's plan as Settings would hold it, of a guest that has none, or of an operator's file.
[[nodiscard]] Result<config::Drill> parse_drill(const std::string& text, std::string_view origin);

}  // namespace understudy
