#include "failover/console/completion.hpp"

#include <algorithm>

namespace understudy::failover::console {
namespace {

Completion::Names names_of(const CLI::Option& option) {
  const auto& kind = option.get_positional() ? option.get_name(true) : option.get_type_name();
  if (kind == "VM") return Completion::Names::guests;
  if (kind == "HOST") return Completion::Names::hosts;
  return kind == "FILE" || kind == "PATH" ? Completion::Names::files : Completion::Names::none;
}

/// Its own, or one that a command takes over from above.
const CLI::Option* find_option(const CLI::App* app, const std::string& word) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const auto* option = app->get_option_no_throw(word)) return option;
  }
  return nullptr;
}

std::vector<const CLI::App*> commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

const CLI::App* find_command(const CLI::App& app, const std::string& word) {
  const auto all = commands(app);
  const auto found = std::ranges::find(all, word, &CLI::App::get_name);
  return found == all.end() ? nullptr : *found;
}

bool takes_value(const CLI::Option& option) {
  return option.get_type_size_max() > 0;
}

std::vector<const CLI::Option*> positionals(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

std::vector<std::string> option_names(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const auto* option : app->get_options([](const auto*) { return true; })) {
      for (const auto& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  return names;
}

}  // namespace

Completion complete(const CLI::App& app, std::span<const std::string> words) {
  const auto* at = &app;
  const CLI::Option* wants_value = nullptr;
  std::size_t given = 0;
  for (const auto& word : words.first(words.empty() ? 0 : words.size() - 1)) {
    if (wants_value != nullptr) {
      wants_value = nullptr;
    } else if (word.starts_with("-")) {
      const auto* option = find_option(at, word);
      if (option != nullptr && takes_value(*option)) wants_value = option;
    } else if (const auto* command = find_command(*at, word)) {
      at = command;
      given = 0;
    } else {
      ++given;
    }
  }
  if (wants_value != nullptr) return {{}, names_of(*wants_value)};
  Completion result;
  if (!words.empty() && words.back().starts_with("-")) {
    result.words = option_names(at);
    return result;
  }
  for (const auto* command : commands(*at)) result.words.push_back(command->get_name());
  const auto missing = positionals(*at);
  if (given < missing.size()) {
    result.names = names_of(*missing[given]);
  } else if (result.words.empty()) {
    result.words = option_names(at);
  }
  return result;
}

std::string completion_script() {
  return R"sh(# eval "$(understudy completion)" in ~/.bashrc or ~/.zshrc
[ -z "$ZSH_VERSION" ] || autoload -U +X bashcompinit && bashcompinit
_understudy() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(understudy complete -- "${
    COMP_WORDS[@] : 1 : COMP_CWORD}" 2>/dev/null)" \
    -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o bashdefault -o default -F _understudy understudy
)sh";
}

}  // namespace understudy::failover::console
