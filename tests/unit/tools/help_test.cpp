#include "tools/help.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tools/commands.h"
#include "tools/completions.h"

namespace panda::tools {
namespace {

std::vector<CommandSpec> specs() {
  std::vector<CommandSpec> all;
  for (const Command& command : commands()) all.push_back(command.spec);
  return all;
}

TEST(Help, NamesEveryCommandAndOption) {
  const std::string overview = overview_help(specs(), global_options());
  for (const CommandSpec& spec : specs()) {
    EXPECT_NE(overview.find("  " + spec.name + " "), std::string::npos) << spec.name;
    const std::string help = command_help(spec, global_options(), true);
    for (const OptionSpec& option : spec.options) {
      EXPECT_NE(help.find("--" + option.name), std::string::npos) << option.name;
    }
    EXPECT_LE(command_help(spec, global_options(), false).size(), help.size());
  }
}

TEST(Help, FitsATerminal) {
  for (const CommandSpec& spec : specs()) {
    std::istringstream lines(command_help(spec, global_options(), true));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
}

TEST(ManPage, EscapesWhatRoffWouldTakeAsARequest) {
  CommandSpec spec{.name = "x",
                   .summary = "s",
                   .description = ".hidden\n\n'quoted \\ back",
                   .positionals = {},
                   .options = {},
                   .examples = {"panda x --deep-option"}};
  const std::string page = man_page({spec}, {}, "1.0");
  EXPECT_NE(page.find("\n\\&.hidden\n"), std::string::npos);
  EXPECT_NE(page.find("\n\\&'quoted \\e back\n"), std::string::npos);
  EXPECT_NE(page.find("panda x \\-\\-deep\\-option"), std::string::npos);
}

TEST(Completions, NameEveryOptionInEveryShell) {
  const std::string bash = bash_completion(specs(), global_options());
  const std::string zsh = zsh_completion(specs(), global_options());
  const std::string fish = fish_completion(specs(), global_options());
  for (const CommandSpec& spec : specs()) {
    for (const OptionSpec& option : spec.options) {
      if (option.name.size() == 1) continue;
      EXPECT_NE(bash.find("--" + option.name), std::string::npos) << option.name;
      EXPECT_NE(zsh.find("--" + option.name + "["), std::string::npos) << option.name;
      EXPECT_NE(fish.find(" -l " + option.name + " "), std::string::npos) << option.name;
    }
  }
}

TEST(Completions, QuoteApostrophes) {
  const CommandSpec spec{.name = "x",
                         .summary = "it's",
                         .description = "",
                         .positionals = {},
                         .options = {{.name = "a",
                                      .kind = OptionKind::kFlag,
                                      .value_name = "",
                                      .default_value = "",
                                      .summary = "it's [one]: x",
                                      .detail = ""}},
                         .examples = {}};
  EXPECT_NE(fish_completion({spec}, {}).find("'it'\\''s [one]: x'"), std::string::npos);
  EXPECT_NE(zsh_completion({spec}, {}).find("'x:it'\\''s'"), std::string::npos);
}

}  // namespace
}  // namespace panda::tools
