#include "tools/application.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <new>

#include "tools/commands.h"
#include "tools/completions.h"
#include "tools/exit_code.h"
#include "tools/help.h"
#include "tools/version.h"

namespace panda::tools {

namespace {

std::vector<CommandSpec> all_specs() {
  std::vector<CommandSpec> specs;
  for (const Command& command : commands()) specs.push_back(command.spec);
  return specs;
}

// True if `words`, from `begin`, starts with the words of `name`.
bool stands_at(const std::string& name, const std::vector<std::string>& words, size_t begin) {
  const size_t space = name.find(' ');
  if (begin >= words.size() || words[begin] != name.substr(0, space)) return false;
  return space == std::string::npos ||
         (begin + 1 < words.size() && words[begin + 1] == name.substr(space + 1));
}

// The second words of commands that begin with `first`: {"inspect", "convert"} for "weights".
std::vector<std::string> subcommands_of(const std::string& first) {
  std::vector<std::string> words;
  for (const Command& command : commands()) {
    const std::string& name = command.spec.name;
    if (name.compare(0, first.size() + 1, first + " ") == 0) words.push_back(name.substr(first.size() + 1));
  }
  return words;
}

std::string listed(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

bool is_help(const std::string& word) {
  return word == "--help" || word == "-h" || word == "help";
}

[[noreturn]] void throw_unknown_command(const std::string& word) {
  std::vector<std::string> names;
  for (const Command& command : commands())
    names.push_back(command.spec.name.substr(0, command.spec.name.find(' ')));
  const std::string nearest = nearest_word(word, names);
  throw UsageError(
      text("unknown command '", word, "'",
           nearest.empty() ? std::string(" (see panda --help)") : text("; did you mean '", nearest, "'?")));
}

const Command& find_command(const std::vector<std::string>& words, size_t begin) {
  for (const Command& command : commands()) {
    if (stands_at(command.spec.name, words, begin)) return command;
  }
  const std::vector<std::string> subcommands = subcommands_of(words[begin]);
  if (subcommands.empty()) throw_unknown_command(words[begin]);
  if (begin + 1 == words.size())
    throw UsageError(text(words[begin], ": expected one of: ", listed(subcommands)));
  const std::string nearest = nearest_word(words[begin + 1], subcommands);
  throw UsageError(text(words[begin], ": expected one of: ", listed(subcommands), "; got '", words[begin + 1],
                        "'", nearest.empty() ? std::string() : text("; did you mean '", nearest, "'?")));
}

// "panda help", "panda --help synth", "panda help weights" (a group: what is in it).
std::string help_text(const std::vector<std::string>& words) {
  if (words.empty()) return overview_help(all_specs(), global_options());
  const std::vector<std::string> subcommands = subcommands_of(words[0]);
  if (words.size() == 1 && !subcommands.empty()) {
    std::string help;
    for (const Command& command : commands()) {
      if (command.spec.name.compare(0, words[0].size() + 1, words[0] + " ") != 0) continue;
      help += (help.empty() ? "" : "\n") + command_help(command.spec, {}, true);
    }
    return help;
  }
  return command_help(find_command(words, 0).spec, global_options(), true);
}

std::string generated(const std::vector<std::string>& words) {
  const std::string expected =
      "--generate: expected one of: man, bash-completion, zsh-completion, fish-completion";
  if (words.empty()) throw UsageError(expected + ", got nothing");
  if (words.size() > 1) throw UsageError(text("unexpected argument '", words[1], "' (see panda --help)"));
  if (words[0] == "man") return man_page(all_specs(), global_options(), version());
  if (words[0] == "bash-completion") return bash_completion(all_specs(), global_options());
  if (words[0] == "zsh-completion") return zsh_completion(all_specs(), global_options());
  if (words[0] == "fish-completion") return fish_completion(all_specs(), global_options());
  throw UsageError(text(expected, ", got '", words[0], "'"));
}

OutputFormat output_format(const ParsedOptions& options) {
  const std::string& name = options.text("format");
  if (name == "json") return OutputFormat::kJson;
  if (name == "jsonl") return OutputFormat::kJsonLines;
  return name == "csv" ? OutputFormat::kCsv : OutputFormat::kTable;
}

ProgressStyle progress_style(const ParsedOptions& options) {
  if (options.flag("quiet") || options.text("progress") == "none") return ProgressStyle::kNone;
  if (options.text("progress") == "keyvalue") return ProgressStyle::kKeyValue;
  const char* const terminal = std::getenv("TERM");
  const bool dumb = terminal != nullptr && std::string(terminal) == "dumb";
  return ::isatty(STDERR_FILENO) == 1 && !dumb ? ProgressStyle::kLine : ProgressStyle::kNone;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int run_command(const Command& command, const std::vector<std::string>& arguments, OutputStream& out) {
  const ParsedOptions options = parse_options(command.spec, global_options(), arguments);
  if (options.help() != HelpRequest::kNone) {
    out.write(command_help(command.spec, global_options(), options.help() == HelpRequest::kLong));
    return kExitDone;
  }
  ProgressLine progress(progress_style(options), write_standard_error, steady_seconds);
  Context context{out, output_format(options), progress, options.flag("quiet"), options.flag("verbose")};
  try {
    const int exit_code = command.run(options, context);
    progress.finish();
    return exit_code;
  } catch (...) {
    progress.clear();
    throw;
  }
}

int dispatch(const std::vector<std::string>& arguments, OutputStream& out) {
  const size_t begin = count_leading_options(global_options(), arguments);
  std::vector<std::string> leading(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(begin));
  if (begin == arguments.size()) {
    (void)parse_options({}, global_options(), leading);
    std::vector<std::string> names;
    for (const Command& command : commands()) names.push_back(command.spec.name);
    throw UsageError(text("expected a command: ", listed(names), " (see panda --help)"));
  }
  const std::string& word = arguments[begin];
  const std::vector<std::string> rest(arguments.begin() + static_cast<std::ptrdiff_t>(begin) + 1,
                                      arguments.end());
  if (is_help(word)) {
    out.write(help_text(rest));
  } else if (word == "--version" || word == "-V") {
    if (!rest.empty()) throw UsageError(text("unexpected argument '", rest[0], "' (see panda --help)"));
    out.write(text("panda ", version(), "\n"));
  } else if (word == "--generate") {
    out.write(generated(rest));
  } else if (!word.empty() && word[0] == '-') {
    leading.push_back(word);
    if (parse_options({}, global_options(), leading).help() == HelpRequest::kNone)
      throw_unknown_command(word);
    out.write(help_text({}));
  } else {
    if (!rest.empty() && is_help(rest[0]) && !subcommands_of(word).empty()) {
      out.write(help_text({word}));
      return kExitDone;
    }
    const Command& command = find_command(arguments, begin);
    const size_t words = command.spec.name.find(' ') == std::string::npos ? 1 : 2;
    leading.insert(leading.end(), arguments.begin() + static_cast<std::ptrdiff_t>(begin + words),
                   arguments.end());
    return run_command(command, leading, out);
  }
  return kExitDone;
}

}  // namespace

int run_panda(const std::vector<std::string>& arguments) noexcept {
  try {
    try {
      OutputStream out(STDOUT_FILENO, "standard output");
      const int exit_code = dispatch(arguments, out);
      out.flush();
      return exit_code;
    } catch (...) {
      const Failure failure = describe_failure(std::current_exception());
      write_standard_error(failure.line);
      return failure.exit_code;
    }
  } catch (...) {  // no memory even for the message
    static const char kLine[] = "panda: out of memory\n";
    (void)!::write(STDERR_FILENO, kLine, sizeof kLine - 1);
    return kExitResource;
  }
}

}  // namespace panda::tools
