#include "tools/completions.h"

#include <algorithm>

namespace panda::tools {

namespace {

std::string first_word(const std::string& name) {
  return name.substr(0, name.find(' '));
}
std::string second_word(const std::string& name) {
  const size_t space = name.find(' ');
  return space == std::string::npos ? "" : name.substr(space + 1);
}

std::vector<std::string> first_words(const std::vector<CommandSpec>& commands) {
  std::vector<std::string> words;
  for (const CommandSpec& command : commands) {
    const std::string word = first_word(command.name);
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  return words;
}

std::vector<std::string> second_words(const std::vector<CommandSpec>& commands, const std::string& first) {
  std::vector<std::string> words;
  for (const CommandSpec& command : commands) {
    if (first_word(command.name) == first && !second_word(command.name).empty())
      words.push_back(second_word(command.name));
  }
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

std::vector<OptionSpec> all_options(const CommandSpec& command,
                                    const std::vector<OptionSpec>& global_options) {
  std::vector<OptionSpec> options = command.options;
  options.insert(options.end(), global_options.begin(), global_options.end());
  return options;
}

// "--out|-o": the spellings of an option as a case pattern.
std::string spellings(const OptionSpec& option, const std::string& separator) {
  std::string names = "--" + option.name;
  if (option.short_name != '\0') names += separator + "-" + option.short_name;
  return names;
}

std::string quoted(const std::string& plain) {
  std::string safe = "'";
  for (const char c : plain) safe += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return safe + "'";
}

// The command that completes an option's value; "" for what cannot be guessed.
std::string bash_values(OptionKind kind, const std::vector<std::string>& choices) {
  if (!choices.empty()) return "compgen -W '" + joined(choices) + "' -- \"$current\"";
  if (kind == OptionKind::kFile) return "compgen -f -- \"$current\"";
  if (kind == OptionKind::kDirectory) return "compgen -d -- \"$current\"";
  return "";
}

std::string bash_case(const CommandSpec& command, const std::vector<OptionSpec>& options) {
  std::string script = "    '" + command.name + "')\n      case \"$previous\" in\n";
  std::string names = "--help";
  for (const OptionSpec& option : options) {
    names += " " + spellings(option, " ");
    if (option.kind == OptionKind::kFlag) continue;
    const std::string values = bash_values(option.kind, option.choices);
    script += "        " + spellings(option, "|") + ") ";
    script += values.empty() ? "return ;;\n" : "mapfile -t COMPREPLY < <(" + values + "); return ;;\n";
  }
  script += "      esac\n      if [[ $current == -* ]]; then\n";
  script += "        mapfile -t COMPREPLY < <(compgen -W '" + names + "' -- \"$current\")\n";
  if (!command.positionals.empty()) {
    const PositionalSpec& first = command.positionals.front();
    script +=
        "      else\n        mapfile -t COMPREPLY < <(" + bash_values(first.kind, first.choices) + ")\n";
  }
  return script + "      fi ;;\n";
}

// zsh: within the brackets of an _arguments specification "]", ":" and "\" are special.
std::string zsh_description(const std::string& plain) {
  std::string safe;
  for (const char c : plain) {
    if (c == ']' || c == '[' || c == ':' || c == '\\') safe += '\\';
    safe += c;
  }
  return safe;
}

std::string zsh_action(OptionKind kind, const std::vector<std::string>& choices) {
  if (!choices.empty()) return "(" + joined(choices) + ")";
  if (kind == OptionKind::kFile) return "_files";
  if (kind == OptionKind::kDirectory) return "_files -/";
  return " ";
}

std::string zsh_arguments(const CommandSpec& command, const std::vector<OptionSpec>& options) {
  std::string script = "        _arguments";
  const auto add = [&](const std::string& spec) { script += " \\\n          " + quoted(spec); };
  add("--help[full help]");
  for (const OptionSpec& option : options) {
    const std::string value =
        option.kind == OptionKind::kFlag
            ? ""
            : ":" + zsh_description(option.value_name) + ":" + zsh_action(option.kind, option.choices);
    const std::string description = "[" + zsh_description(option.summary) + "]";
    const std::string repeat = option.repeatable ? "*" : "";
    add(repeat + "--" + option.name + description + value);
    if (option.short_name != '\0') add(repeat + "-" + option.short_name + description + value);
  }
  for (const PositionalSpec& positional : command.positionals) {
    add(std::string(positional.repeatable ? "*" : "") + (positional.required ? ":" : "::") +
        zsh_description(positional.name) + ":" + zsh_action(positional.kind, positional.choices));
  }
  return script + " ;;\n";
}

}  // namespace

std::string bash_completion(const std::vector<CommandSpec>& commands,
                            const std::vector<OptionSpec>& global_options) {
  std::string script =
      "# bash completion for panda; made by: panda --generate bash-completion\n"
      "_panda() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
      "  local command=${COMP_WORDS[1]}\n"
      "  COMPREPLY=()\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    mapfile -t COMPREPLY < <(compgen -W '" +
      joined(first_words(commands)) +
      " --help --version --generate' -- \"$current\")\n"
      "    return\n"
      "  fi\n";
  for (const std::string& first : first_words(commands)) {
    const std::string subcommands = joined(second_words(commands, first));
    if (subcommands.empty()) continue;
    script += "  if [[ $command == " + first + " ]]; then\n    if ((COMP_CWORD == 2)); then\n";
    script += "      mapfile -t COMPREPLY < <(compgen -W '" + subcommands +
              "' -- \"$current\")\n      return\n    fi\n";
    script += "    command=\"$command ${COMP_WORDS[2]}\"\n  fi\n";
  }
  script +=
      "  if [[ $command == --generate ]]; then\n"
      "    mapfile -t COMPREPLY < <(compgen -W 'man bash-completion zsh-completion fish-completion' -- "
      "\"$current\")\n"
      "    return\n"
      "  fi\n"
      "  case \"$command\" in\n";
  for (const CommandSpec& command : commands)
    script += bash_case(command, all_options(command, global_options));
  return script + "  esac\n}\ncomplete -o filenames -F _panda panda\n";
}

std::string zsh_completion(const std::vector<CommandSpec>& commands,
                           const std::vector<OptionSpec>& global_options) {
  std::string script =
      "#compdef panda\n"
      "# zsh completion for panda; made by: panda --generate zsh-completion\n"
      "_panda() {\n"
      "  local command=${words[2]}\n"
      "  if ((CURRENT == 2)); then\n"
      "    local -a commands=(\n";
  for (const std::string& first : first_words(commands)) {
    const auto same = std::find_if(commands.begin(), commands.end(), [&](const CommandSpec& command) {
      return first_word(command.name) == first;
    });
    const std::string summary = second_word(same->name).empty() ? ":" + zsh_description(same->summary) : "";
    script += "      " + quoted(first + summary) + "\n";
  }
  script += "    )\n    _describe command commands\n    return\n  fi\n  shift words; ((CURRENT--))\n";
  for (const std::string& first : first_words(commands)) {
    const std::string subcommands = joined(second_words(commands, first));
    if (subcommands.empty()) continue;
    script += "  if [[ $command == " + first + " ]]; then\n    if ((CURRENT == 2)); then\n";
    script += "      compadd " + subcommands + "\n      return\n    fi\n";
    script += "    command=\"$command ${words[2]}\"\n    shift words; ((CURRENT--))\n  fi\n";
  }
  script += "  case \"$command\" in\n";
  for (const CommandSpec& command : commands) {
    script +=
        "    " + quoted(command.name) + ")\n" + zsh_arguments(command, all_options(command, global_options));
  }
  return script + "  esac\n}\n_panda \"$@\"\n";
}

std::string fish_completion(const std::vector<CommandSpec>& commands,
                            const std::vector<OptionSpec>& global_options) {
  std::string script =
      "# fish completion for panda; made by: panda --generate fish-completion\n"
      "complete -c panda -f\n"
      "complete -c panda -n __fish_use_subcommand -l help -d 'full help'\n"
      "complete -c panda -n __fish_use_subcommand -l version -d 'print the version'\n"
      "complete -c panda -n __fish_use_subcommand -l generate -x "
      "-a 'man bash-completion zsh-completion fish-completion'\n";
  for (const std::string& first : first_words(commands)) {
    script += "complete -c panda -n __fish_use_subcommand -a " + first + "\n";
    const std::string subcommands = joined(second_words(commands, first));
    if (subcommands.empty()) continue;
    script += "complete -c panda -n '__fish_seen_subcommand_from " + first +
              "; and not __fish_seen_subcommand_from " + subcommands + "' -a " + quoted(subcommands) + "\n";
  }
  for (const CommandSpec& command : commands) {
    std::string condition = "__fish_seen_subcommand_from " + first_word(command.name);
    if (!second_word(command.name).empty()) {
      condition += "; and __fish_seen_subcommand_from " + second_word(command.name);
    }
    const std::string prefix = "complete -c panda -n '" + condition + "'";
    for (const OptionSpec& option : all_options(command, global_options)) {
      std::string line = prefix + " -l " + option.name;
      if (option.short_name != '\0') line += std::string(" -s ") + option.short_name;
      if (!option.choices.empty()) {
        line += " -x -a " + quoted(joined(option.choices));
      } else if (option.kind == OptionKind::kDirectory) {
        line += " -x -a '(__fish_complete_directories)'";
      } else if (option.kind != OptionKind::kFlag) {
        line += option.kind == OptionKind::kFile ? " -r -F" : " -x";
      }
      script += line + " -d " + quoted(option.summary) + "\n";
    }
    const bool takes_files = std::any_of(command.positionals.begin(), command.positionals.end(),
                                         [](const PositionalSpec& spec) { return spec.choices.empty(); });
    if (takes_files) script += prefix + " -F\n";
    if (!command.positionals.empty() && !command.positionals.front().choices.empty()) {
      script += prefix + " -a " + quoted(joined(command.positionals.front().choices)) + "\n";
    }
  }
  return script;
}

}  // namespace panda::tools
