// Completion of the command line in a shell. The command itself says what may come next, so that it
// knows every command and option, and the names that the daemon knows.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace understudy::failover::console {

struct Completion {
  enum class Names : std::uint8_t { none, guests, hosts, files };
  std::vector<std::string> words;
  Names names{Names::none};  ///< what else may stand here
};

/// What may stand in place of the last of `words` (those behind the program's name).
[[nodiscard]] Completion complete(const CLI::App& app, std::span<const std::string> words);

/// For `eval` in bash, or in zsh.
[[nodiscard]] std::string completion_script();

}  // namespace understudy::failover::console
