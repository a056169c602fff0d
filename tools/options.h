// Turns a command line into typed, range-checked values, as an option table says (tools/option_table.h).
//
// Accepted: --name value, --name=value, -n value, -nvalue, bundled flags (-qv), "--" before arguments that
// begin with a dash. A repeated option takes its last value. Every mistake is a UsageError of one line that
// names the option, what was expected and what came; an unknown name comes with the nearest known one.
#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "kernels/tensor/error.h"
#include "tools/option_table.h"

namespace panda::tools {

/// All of the text as a number; nothing if it is none, or has more before or after it.
template <typename Number>
[[nodiscard]] std::optional<Number> parse_number(const std::string& digits) {
  Number value{};
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

/// The command line itself is wrong: exit code 2.
class UsageError : public InvalidArgument {
 public:
  using InvalidArgument::InvalidArgument;
};

enum class HelpRequest { kNone, kShort, kLong };

/// The values of one command line. Asking for a name that the table does not have is an InternalError.
class ParsedOptions {
 public:
  [[nodiscard]] HelpRequest help() const { return help_; }
  /// True if there is a value: given, or a default.
  [[nodiscard]] bool has(const std::string& name) const;
  /// True if it stood on the command line.
  [[nodiscard]] bool given(const std::string& name) const;

  [[nodiscard]] bool flag(const std::string& name) const;
  [[nodiscard]] int64_t integer(const std::string& name) const;
  [[nodiscard]] double real(const std::string& name) const;
  [[nodiscard]] std::vector<int64_t> integers(const std::string& name) const;
  /// For kChoice, kText, kFile and kDirectory.
  [[nodiscard]] const std::string& text(const std::string& name) const;
  /// All values of a repeatable option, in order.
  [[nodiscard]] const std::vector<std::string>& texts(const std::string& name) const;

  [[nodiscard]] const std::vector<std::string>& positionals() const { return positionals_; }
  /// The command line again, as a shell takes it: positionals in their order, then what was given by name,
  /// sorted.
  [[nodiscard]] std::string words() const;

 private:
  friend class Parser;
  struct Value {
    OptionKind kind = OptionKind::kFlag;
    bool given = false;
    std::vector<std::string> texts;
  };
  [[nodiscard]] const Value& value(const std::string& name) const;
  [[nodiscard]] const std::string& single(const std::string& name) const;

  std::map<std::string, Value> values_;
  std::vector<std::string> positionals_;
  HelpRequest help_ = HelpRequest::kNone;
};

/// Parses `arguments` (without the program's and the command's name) by the command's own options and
/// `global_options`. Where -h or --help stands, required options may be missing. Throws UsageError.
[[nodiscard]] ParsedOptions parse_options(const CommandSpec& command,
                                          const std::vector<OptionSpec>& global_options,
                                          const std::vector<std::string>& arguments);

/// How many of the leading `arguments` are options of `global_options` with their values: where the command's
/// name is. Stops at the first argument that is no such option.
[[nodiscard]] size_t count_leading_options(const std::vector<OptionSpec>& global_options,
                                           const std::vector<std::string>& arguments);

/// The candidate nearest to `word` by edit distance (insert, delete, replace, swap neighbours), or "" if none
/// is near.
[[nodiscard]] std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

/// "an integer >= 1", "one of: table, json, csv": what a value of this option must be.
[[nodiscard]] std::string expectation(const OptionSpec& option);

}  // namespace panda::tools
