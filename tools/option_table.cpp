#include "tools/option_table.h"

#include <utility>

namespace panda::tools {

OptionSpec file_option(std::string name, std::string summary, std::string detail) {
  return {.name = std::move(name),
          .kind = OptionKind::kFile,
          .value_name = "FILE",
          .default_value = "",
          .summary = std::move(summary),
          .detail = std::move(detail)};
}

OptionSpec integer_option(std::string name, std::string value_name, std::string standard, std::string summary,
                          std::string detail, double minimum, double maximum) {
  return {.name = std::move(name),
          .kind = OptionKind::kInteger,
          .value_name = std::move(value_name),
          .default_value = std::move(standard),
          .summary = std::move(summary),
          .detail = std::move(detail),
          .minimum = minimum,
          .maximum = maximum};
}

OptionSpec real_option(std::string name, std::string value_name, std::string standard, std::string summary,
                       std::string detail, double minimum, double maximum) {
  OptionSpec option = integer_option(std::move(name), std::move(value_name), std::move(standard),
                                     std::move(summary), std::move(detail), minimum, maximum);
  option.kind = OptionKind::kReal;
  return option;
}

OptionSpec choice_option(std::string name, std::string value_name, std::string standard, std::string summary,
                         std::string detail, std::vector<std::string> choices) {
  return {.name = std::move(name),
          .kind = OptionKind::kChoice,
          .value_name = std::move(value_name),
          .default_value = std::move(standard),
          .summary = std::move(summary),
          .detail = std::move(detail),
          .choices = std::move(choices)};
}

OptionSpec required(OptionSpec option) {
  option.required = true;
  return option;
}

}  // namespace panda::tools
