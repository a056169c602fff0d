#include "tools/help.h"

#include <algorithm>
#include <sstream>

#include "tools/exit_code.h"
#include "tools/options.h"

namespace panda::tools {

namespace {

constexpr size_t kLineWidth = 80;
constexpr size_t kSummaryColumn = 26;

struct ExitCodeText {
  int code;
  const char* meaning;
};
constexpr ExitCodeText kExitCodes[] = {
    {kExitDone, "done"},
    {kExitAnomalyFound, "done, and the verdict is \"anomaly found\" (only with --fail-on-anomaly)"},
    {kExitBadInput, "bad input or usage"},
    {kExitResource, "out of memory, disk or another resource"},
    {kExitDevice, "a device failed"},
    {kExitInternal, "an error in panda itself"},
    {kExitInterrupted, "interrupted; what was fitted so far can be resumed"},
};

// Breaks `paragraph` at spaces; every line but the first (which begins at column `first`) is indented by
// `indent`.
std::string wrapped(const std::string& paragraph, size_t first, size_t indent) {
  std::istringstream words(paragraph);
  std::string lines;
  std::string word;
  size_t column = first;
  bool line_empty = true;
  while (words >> word) {
    if (!line_empty && column + 1 + word.size() > kLineWidth) {
      lines += "\n" + std::string(indent, ' ');
      column = indent;
      line_empty = true;
    }
    if (!line_empty) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += word.size();
    line_empty = false;
  }
  return lines + "\n";
}

// A term with its explanation in the second column (on the next line where the term is too long).
std::string entry(const std::string& term, const std::string& explanation) {
  std::string line = "  " + term;
  if (line.size() + 2 > kSummaryColumn) {
    line += "\n" + std::string(kSummaryColumn, ' ');
  } else {
    line += std::string(kSummaryColumn - line.size(), ' ');
  }
  return line + wrapped(explanation, kSummaryColumn, kSummaryColumn);
}

std::vector<std::string> paragraphs(const std::string& description) {
  std::vector<std::string> result;
  size_t begin = 0;
  while (begin < description.size()) {
    const size_t end = std::min(description.find("\n\n", begin), description.size());
    result.push_back(description.substr(begin, end - begin));
    begin = end + 2;
  }
  return result;
}

std::string option_term(const OptionSpec& option) {
  std::string term = "--" + option.name;
  if (option.short_name != '\0') term = std::string("-") + option.short_name + ", " + term;
  if (option.kind != OptionKind::kFlag) term += " " + option.value_name;
  return term;
}

std::string option_explanation(const OptionSpec& option, bool detailed) {
  std::string explanation = option.summary;
  if (option.kind == OptionKind::kChoice) {
    std::string choices;
    for (const std::string& choice : option.choices) choices += (choices.empty() ? "" : ", ") + choice;
    explanation += ": " + choices;
  }
  if (!option.default_value.empty()) explanation += " (default: " + option.default_value + ")";
  if (option.required) explanation += " (required)";
  if (detailed && !option.detail.empty()) explanation += ". " + option.detail;
  return explanation;
}

std::string positional_form(const PositionalSpec& positional) {
  const std::string name = positional.name + (positional.repeatable ? "..." : "");
  return positional.required ? name : "[" + name + "]";
}

std::string option_list(const std::vector<OptionSpec>& options, bool detailed) {
  std::string list;
  for (const OptionSpec& option : options)
    list += entry(option_term(option), option_explanation(option, detailed));
  return list;
}

// roff: a backslash starts an escape, a plain "-" may be set as a hyphen, a line that begins with "." or "'"
// is a request.
std::string roff(const std::string& plain) {
  std::string escaped;
  for (const char c : plain) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      if ((c == '.' || c == '\'') && (escaped.empty() || escaped.back() == '\n')) escaped += "\\&";
      escaped += c;
    }
  }
  return escaped;
}

std::string roff_options(const std::vector<OptionSpec>& options) {
  std::string list;
  for (const OptionSpec& option : options) {
    list += ".TP\n.B " + roff(option_term(option)) + "\n" + roff(option_explanation(option, true)) + "\n";
  }
  return list;
}

std::string roff_command(const CommandSpec& command) {
  std::string page = ".SS " + roff(synopsis(command)) + "\n";
  for (const std::string& paragraph : paragraphs(command.description)) page += roff(paragraph) + "\n.PP\n";
  for (const PositionalSpec& positional : command.positionals) {
    page += ".TP\n.I " + roff(positional.name) + "\n" + roff(positional.summary) + "\n";
  }
  page += roff_options(command.options);
  if (!command.examples.empty()) {
    page += ".PP\nExamples:\n.PP\n.nf\n";
    for (const std::string& example : command.examples) page += ".B \"    " + roff(example) + "\"\n";
    page += ".fi\n";
  }
  return page;
}

}  // namespace

std::string synopsis(const CommandSpec& command) {
  std::string line = "panda " + command.name;
  for (const PositionalSpec& positional : command.positionals) line += " " + positional_form(positional);
  for (const OptionSpec& option : command.options) {
    if (option.required) line += " " + option_term(option);
  }
  const bool optional = std::any_of(command.options.begin(), command.options.end(),
                                    [](const OptionSpec& option) { return !option.required; });
  return optional ? line + " [options]" : line;
}

std::string overview_help(const std::vector<CommandSpec>& commands,
                          const std::vector<OptionSpec>& global_options) {
  std::string help =
      "panda: finds what is unusual in images, after seeing normal ones only\n\nUsage: panda COMMAND "
      "[options]\n\nCommands:\n";
  for (const CommandSpec& command : commands) help += entry(command.name, command.summary);
  help += "\nOptions for every command:\n" + option_list(global_options, false);
  help += entry("-h, --help", "short or full help; also panda COMMAND --help");
  help += entry("-V, --version", "print the version");
  help += entry("--generate WHAT", "print: man, bash-completion, zsh-completion, fish-completion");
  help += "\nExit codes:\n";
  for (const ExitCodeText& exit_code : kExitCodes)
    help += entry(std::to_string(exit_code.code), exit_code.meaning);
  return help;
}

std::string command_help(const CommandSpec& command, const std::vector<OptionSpec>& global_options,
                         bool detailed) {
  std::string help =
      "panda " + command.name + ": " + command.summary + "\n\nUsage: " + synopsis(command) + "\n";
  if (detailed) {
    for (const std::string& paragraph : paragraphs(command.description))
      help += "\n" + wrapped(paragraph, 0, 0);
  }
  if (!command.positionals.empty()) {
    help += "\nArguments:\n";
    for (const PositionalSpec& positional : command.positionals)
      help += entry(positional.name, positional.summary);
  }
  if (!command.options.empty()) help += "\nOptions:\n" + option_list(command.options, detailed);
  help += "\nOptions for every command:\n" + option_list(global_options, detailed);
  help += entry("-h, --help", "short or full help");
  if (detailed && !command.examples.empty()) {
    help += "\nExamples:\n";
    for (const std::string& example : command.examples) help += "  " + example + "\n";
  }
  return help;
}

std::string man_page(const std::vector<CommandSpec>& commands, const std::vector<OptionSpec>& global_options,
                     const std::string& version) {
  std::string page = ".TH PANDA 1 \"\" \"panda " + roff(version) + "\" \"User Commands\"\n";
  page += ".SH NAME\npanda \\- finds what is unusual in images, after seeing normal ones only\n";
  page += ".SH SYNOPSIS\n.B panda\n.I COMMAND\n[options]\n";
  page +=
      ".SH DESCRIPTION\nResults go to standard output, everything else (progress, warnings) to standard "
      "error. An error is one\n"
      "line that names the file, what is wrong and what was expected. Outputs appear whole or not at all.\n";
  page += ".SH COMMANDS\n";
  for (const CommandSpec& command : commands) page += roff_command(command);
  page += ".SH OPTIONS FOR EVERY COMMAND\n" + roff_options(global_options);
  page += ".TP\n.B \\-h, \\-\\-help\nShort or full help\n.TP\n.B \\-V, \\-\\-version\nPrint the version\n";
  page +=
      ".TP\n.B \\-\\-generate WHAT\nPrint one of: man, bash\\-completion, zsh\\-completion, "
      "fish\\-completion\n";
  page += ".SH EXIT STATUS\n";
  for (const ExitCodeText& exit_code : kExitCodes) {
    page += ".TP\n.B " + std::to_string(exit_code.code) + "\n" + roff(exit_code.meaning) + "\n";
  }
  return page;
}

}  // namespace panda::tools
