#include "tools/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace panda::tools {

namespace {

std::string join(const std::vector<std::string>& words, const std::string& separator) {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : separator) + word;
  return joined;
}

std::string number_text(double value) {
  char digits[32];
  // Bounds of integers read as integers: 4096, not 4.096e+03.
  const auto [end, error] = std::fabs(value) < 1e15 && value == std::floor(value)
                                ? std::to_chars(digits, digits + sizeof digits, static_cast<int64_t>(value))
                                : std::to_chars(digits, digits + sizeof digits, value);
  return error == std::errc() ? std::string(digits, end) : std::string("?");
}

std::string range_text(const OptionSpec& option) {
  const bool low = std::isfinite(option.minimum);
  const bool high = std::isfinite(option.maximum);
  if (low && high) return text(" from ", number_text(option.minimum), " to ", number_text(option.maximum));
  if (low) return text(" >= ", number_text(option.minimum));
  if (high) return text(" <= ", number_text(option.maximum));
  return "";
}

// int64 bounds are compared as doubles: exact for every bound below 2^53, and infinite ones never exclude.
template <typename Number>
bool in_range(const OptionSpec& option, Number value) {
  const auto number = static_cast<double>(value);
  return std::isfinite(number) && number >= option.minimum && number <= option.maximum;
}

template <typename Number>
bool is_number(const OptionSpec& option, const std::string& digits) {
  const std::optional<Number> number = parse_number<Number>(digits);
  return number.has_value() && in_range(option, *number);
}

std::vector<std::string> split(const std::string& list, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : list) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

bool acceptable(const OptionSpec& option, const std::string& value) {
  if (option.accepts != nullptr) return option.accepts(value);
  switch (option.kind) {
    case OptionKind::kFlag:
      return false;
    case OptionKind::kInteger:
      return is_number<int64_t>(option, value);
    case OptionKind::kReal:
      return is_number<double>(option, value);
    case OptionKind::kIntegerList: {
      const std::vector<std::string> parts = split(value, ',');
      return std::all_of(parts.begin(), parts.end(),
                         [&](const std::string& part) { return is_number<int64_t>(option, part); });
    }
    case OptionKind::kChoice:
      return std::find(option.choices.begin(), option.choices.end(), value) != option.choices.end();
    case OptionKind::kText:
    case OptionKind::kFile:
    case OptionKind::kDirectory:
      return !value.empty();
  }
  return false;
}

// Edit distance with swaps of neighbours (optimal string alignment).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({replace, cost[i - 1][j] + 1, cost[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr size_t kLongestName = 64;  // longer words are no typing mistakes, and the distance is quadratic
  if (word.size() < 2 || word.size() > kLongestName) return "";
  std::string nearest;
  // One mistake in three letters is still the same word.
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string expectation(const OptionSpec& option) {
  if (!option.expected.empty()) return option.expected;
  switch (option.kind) {
    case OptionKind::kFlag:
      return "no value";
    case OptionKind::kInteger:
      return "an integer" + range_text(option);
    case OptionKind::kReal:
      return "a number" + range_text(option);
    case OptionKind::kIntegerList:
      return "integers" + range_text(option) + " separated by commas";
    case OptionKind::kChoice:
      return "one of: " + join(option.choices, ", ");
    case OptionKind::kText:
      return "a value";
    case OptionKind::kFile:
      return "a file name";
    case OptionKind::kDirectory:
      return "a directory name";
  }
  return "";
}

const ParsedOptions::Value& ParsedOptions::value(const std::string& name) const {
  const auto found = values_.find(name);
  PANDA_INTERNAL_ASSERT(found != values_.end(), "no option --", name, " in the table");
  return found->second;
}

const std::string& ParsedOptions::single(const std::string& name) const {
  const Value& found = value(name);
  PANDA_INTERNAL_ASSERT(!found.texts.empty(), "--", name, " has neither a value nor a default");
  return found.texts.back();
}

bool ParsedOptions::has(const std::string& name) const {
  return !value(name).texts.empty();
}
bool ParsedOptions::given(const std::string& name) const {
  return value(name).given;
}

bool ParsedOptions::flag(const std::string& name) const {
  PANDA_INTERNAL_ASSERT(value(name).kind == OptionKind::kFlag, "--", name, " is no flag");
  return value(name).given;
}

int64_t ParsedOptions::integer(const std::string& name) const {
  PANDA_INTERNAL_ASSERT(value(name).kind == OptionKind::kInteger, "--", name, " is no integer");
  return parse_number<int64_t>(single(name)).value();
}

double ParsedOptions::real(const std::string& name) const {
  PANDA_INTERNAL_ASSERT(value(name).kind == OptionKind::kReal, "--", name, " is no number");
  return parse_number<double>(single(name)).value();
}

std::vector<int64_t> ParsedOptions::integers(const std::string& name) const {
  PANDA_INTERNAL_ASSERT(value(name).kind == OptionKind::kIntegerList, "--", name, " is no list");
  std::vector<int64_t> numbers;
  for (const std::string& part : split(single(name), ','))
    numbers.push_back(parse_number<int64_t>(part).value());
  return numbers;
}

const std::string& ParsedOptions::text(const std::string& name) const {
  return single(name);
}
const std::vector<std::string>& ParsedOptions::texts(const std::string& name) const {
  return value(name).texts;
}

namespace {

/// As one word of a shell's command line.
std::string shell_word(const std::string& word) {
  constexpr const char* kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./,:=@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

std::string ParsedOptions::words() const {
  std::string words;
  const auto add = [&words](const std::string& word) { words += (words.empty() ? "" : " ") + word; };
  for (const std::string& positional : positionals_) add(shell_word(positional));
  for (const auto& [name, value] : values_) {
    if (!value.given) continue;
    if (value.kind == OptionKind::kFlag) add("--" + name);
    for (const std::string& given : value.texts) add("--" + name + "=" + shell_word(given));
  }
  return words;
}

class Parser {
 public:
  Parser(const CommandSpec& command, const std::vector<OptionSpec>& global_options) : command_(command) {
    for (const OptionSpec& option : command.options) add(option);
    for (const OptionSpec& option : global_options) add(option);
  }

  ParsedOptions parse(const std::vector<std::string>& arguments) {
    while (position_ < arguments.size()) next(arguments);
    if (parsed_.help_ == HelpRequest::kNone) check_complete();
    return std::move(parsed_);
  }

 private:
  void add(const OptionSpec& option) {
    specs_.push_back(&option);
    ParsedOptions::Value& value = parsed_.values_[option.name];
    value.kind = option.kind;
    if (option.default_value.empty()) return;
    PANDA_INTERNAL_ASSERT(acceptable(option, option.default_value), "the default of --", option.name);
    value.texts.push_back(option.default_value);
  }

  [[noreturn]] void fail(const std::string& message) const {
    const std::string command = command_.name.empty() ? "" : command_.name + ": ";
    throw UsageError(text(command, message));
  }

  void next(const std::vector<std::string>& arguments) {
    const std::string& argument = arguments[position_++];
    if (options_ended_ || argument.size() < 2 || argument[0] != '-') {
      add_positional(argument);
    } else if (argument == "--") {
      options_ended_ = true;
    } else if (argument[1] == '-') {
      long_option(argument, arguments);
    } else {
      short_options(argument, arguments);
    }
  }

  void long_option(const std::string& argument, const std::vector<std::string>& arguments) {
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (name == "help" && equals == std::string::npos) {
      parsed_.help_ = HelpRequest::kLong;
      return;
    }
    const OptionSpec* const option = find(name);
    if (option == nullptr) unknown(name);
    const std::string shown = "--" + name;
    if (equals != std::string::npos) {
      if (option->kind == OptionKind::kFlag) {
        fail(text(shown, ": takes no value, got '", argument.substr(equals + 1), "'"));
      }
      set(*option, shown, argument.substr(equals + 1));
    } else {
      set_from_next(*option, shown, arguments);
    }
  }

  void short_options(const std::string& argument, const std::vector<std::string>& arguments) {
    for (size_t letter = 1; letter < argument.size(); ++letter) {
      const char name = argument[letter];
      if (name == 'h') {
        if (parsed_.help_ == HelpRequest::kNone) parsed_.help_ = HelpRequest::kShort;
        continue;
      }
      const std::string shown = std::string("-") + name;
      const auto option = std::find_if(specs_.begin(), specs_.end(),
                                       [&](const OptionSpec* spec) { return spec->short_name == name; });
      if (option == specs_.end())
        fail(text("unknown option '", argument.size() == 2 ? shown : argument, "'", see_help()));
      if ((*option)->kind != OptionKind::kFlag && letter + 1 < argument.size()) {
        set(**option, shown, argument.substr(letter + 1));
        return;
      }
      set_from_next(**option, shown, arguments);
    }
  }

  void set_from_next(const OptionSpec& option, const std::string& shown,
                     const std::vector<std::string>& arguments) {
    if (option.kind == OptionKind::kFlag) {
      parsed_.values_[option.name].given = true;
      return;
    }
    if (position_ == arguments.size()) fail(text(shown, ": expected ", expectation(option), ", got nothing"));
    const std::string& value = arguments[position_++];
    // "--out --force" is a forgotten value far more often than a directory of that name.
    if (value.size() > 2 && value.compare(0, 2, "--") == 0) {
      fail(text(shown, ": expected ", expectation(option), ", got the option '", value, "' (write ", shown,
                shown.size() > 2 ? "=" : "", value, " if you mean it)"));
    }
    set(option, shown, value);
  }

  void set(const OptionSpec& option, const std::string& shown, const std::string& value) {
    if (!acceptable(option, value)) {
      std::string hint;
      if (option.kind == OptionKind::kChoice) hint = did_you_mean(nearest_word(value, option.choices), "");
      fail(text(shown, ": expected ", expectation(option), ", got '", value, "'", hint));
    }
    ParsedOptions::Value& stored = parsed_.values_[option.name];
    if (!option.repeatable || !stored.given) stored.texts.clear();
    stored.given = true;
    stored.texts.push_back(value);
  }

  void add_positional(const std::string& argument) {
    const std::vector<PositionalSpec>& specs = command_.positionals;
    const size_t index = parsed_.positionals_.size();
    if (specs.empty() || (index >= specs.size() && !specs.back().repeatable)) {
      fail(text("unexpected argument '", argument, "'", see_help()));
    }
    const PositionalSpec& spec = specs[std::min(index, specs.size() - 1)];
    if (argument.empty()) fail(text(spec.name, ": expected a name, got ''"));
    if (spec.kind == OptionKind::kChoice &&
        std::find(spec.choices.begin(), spec.choices.end(), argument) == spec.choices.end()) {
      fail(text(spec.name, ": expected one of: ", join(spec.choices, ", "), "; got '", argument, "'",
                did_you_mean(nearest_word(argument, spec.choices), "")));
    }
    parsed_.positionals_.push_back(argument);
  }

  void check_complete() const {
    const std::vector<PositionalSpec>& specs = command_.positionals;
    for (size_t index = parsed_.positionals_.size(); index < specs.size(); ++index) {
      if (specs[index].required) fail(text("expected ", specs[index].name, see_help()));
    }
    for (const OptionSpec* option : specs_) {
      if (option->required && !parsed_.given(option->name)) {
        fail(text("expected --", option->name, " ", option->value_name, see_help()));
      }
    }
  }

  [[nodiscard]] const OptionSpec* find(const std::string& name) const {
    for (const OptionSpec* option : specs_) {
      if (option->name == name) return option;
    }
    return nullptr;
  }

  [[noreturn]] void unknown(const std::string& name) const {
    std::vector<std::string> names{"help"};
    for (const OptionSpec* option : specs_) names.push_back(option->name);
    const std::string nearest = nearest_word(name, names);
    fail(text("unknown option '--", name, "'", nearest.empty() ? see_help() : did_you_mean(nearest, "--")));
  }

  static std::string did_you_mean(const std::string& nearest, const std::string& dashes) {
    return nearest.empty() ? "" : text("; did you mean '", dashes, nearest, "'?");
  }

  [[nodiscard]] std::string see_help() const {
    return text(" (see panda ", command_.name.empty() ? "" : command_.name + " ", "--help)");
  }

  const CommandSpec& command_;
  std::vector<const OptionSpec*> specs_;
  ParsedOptions parsed_;
  size_t position_ = 0;
  bool options_ended_ = false;
};

ParsedOptions parse_options(const CommandSpec& command, const std::vector<OptionSpec>& global_options,
                            const std::vector<std::string>& arguments) {
  return Parser(command, global_options).parse(arguments);
}

namespace {

const OptionSpec* find_short(const std::vector<OptionSpec>& options, char name) {
  for (const OptionSpec& option : options) {
    if (option.short_name == name) return &option;
  }
  return nullptr;
}

// How many arguments `argument` takes, itself included, if it is a known option (or bundle of them); else 0.
size_t option_length(const std::vector<OptionSpec>& options, const std::string& argument) {
  if (argument.size() < 2 || argument[0] != '-' || argument == "--") return 0;
  if (argument[1] == '-') {
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    for (const OptionSpec& option : options) {
      if (option.name == name) return option.kind == OptionKind::kFlag || equals != std::string::npos ? 1 : 2;
    }
    return 0;
  }
  for (size_t letter = 1; letter < argument.size(); ++letter) {
    const OptionSpec* const option = find_short(options, argument[letter]);
    if (option == nullptr) return 0;
    if (option->kind != OptionKind::kFlag) return letter + 1 < argument.size() ? 1 : 2;
  }
  return 1;
}

}  // namespace

size_t count_leading_options(const std::vector<OptionSpec>& global_options,
                             const std::vector<std::string>& arguments) {
  size_t count = 0;
  while (count < arguments.size()) {
    const size_t length = option_length(global_options, arguments[count]);
    if (length == 0) break;
    count += length;
  }
  return std::min(count, arguments.size());
}

}  // namespace panda::tools
