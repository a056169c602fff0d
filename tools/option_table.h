// The one description of what a command takes. The parser, --help, the man page and the shell completions are
// all made from it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace panda::tools {

enum class OptionKind {
  kFlag,         ///< takes no value
  kInteger,      ///< a 64-bit integer in [minimum, maximum]
  kReal,         ///< a finite number in [minimum, maximum]
  kIntegerList,  ///< comma-separated integers, each in [minimum, maximum]
  kChoice,       ///< one of `choices`
  kText,         ///< any text that is not empty
  kFile,         ///< a path; the shell completes files
  kDirectory,    ///< a path; the shell completes directories
};

struct OptionSpec {
  std::string name;        ///< without dashes: "threads"
  char short_name = '\0';  ///< 'q' for -q; '\0' for none
  OptionKind kind = OptionKind::kFlag;
  std::string value_name;     ///< "N", "DIR": what help shows for the value
  std::string default_value;  ///< parsed like a given value; "" for none
  std::string summary;        ///< one line, for -h
  std::string detail;         ///< further sentences, for --help and the man page; may be ""
  std::vector<std::string> choices = {};
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool required = false;
  bool repeatable = false;
  /// For kText with a grammar of its own: true if the value is acceptable; `expected` says what would be.
  bool (*accepts)(const std::string& value) = nullptr;
  std::string expected = {};
};

// The common kinds, none of them required; `standard` is the default, "" for none.
[[nodiscard]] OptionSpec file_option(std::string name, std::string summary, std::string detail = "");
[[nodiscard]] OptionSpec integer_option(std::string name, std::string value_name, std::string standard,
                                        std::string summary, std::string detail, double minimum,
                                        double maximum = 1e9);
[[nodiscard]] OptionSpec real_option(std::string name, std::string value_name, std::string standard,
                                     std::string summary, std::string detail, double minimum,
                                     double maximum = 1e30);
[[nodiscard]] OptionSpec choice_option(std::string name, std::string value_name, std::string standard,
                                       std::string summary, std::string detail,
                                       std::vector<std::string> choices);
/// The same, but it must be given.
[[nodiscard]] OptionSpec required(OptionSpec option);

struct PositionalSpec {
  std::string name;     ///< as help shows it: "FILE"
  std::string summary;  ///< one line
  OptionKind kind = OptionKind::kFile;
  std::vector<std::string> choices = {};
  bool required = true;
  bool repeatable = false;  ///< takes all that follow; only for the last
};

struct CommandSpec {
  std::string name;         ///< one word ("synth") or two ("weights inspect")
  std::string summary;      ///< one line
  std::string description;  ///< paragraphs separated by an empty line, for --help and the man page
  std::vector<PositionalSpec> positionals;
  std::vector<OptionSpec> options;  ///< its own; the global ones come on top
  std::vector<std::string> examples;
};

}  // namespace panda::tools
