#include <gtest/gtest.h>

#include <sstream>

#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

// The commands that "panda -h" lists.
std::vector<std::vector<std::string>> listed_commands() {
  const Outcome overview = run_panda_command({"-h"});
  std::vector<std::vector<std::string>> commands;
  std::istringstream lines(overview.standard_output);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line == "Commands:") {
      inside = true;
    } else if (line.empty()) {
      inside = false;
    } else if (inside && line.compare(0, 2, "  ") == 0 && line[2] != ' ') {
      std::istringstream words(line.substr(2, line.find("  ", 2) - 2));
      std::vector<std::string> command;
      for (std::string word; words >> word;) command.push_back(word);
      commands.push_back(command);
    }
  }
  return commands;
}

TEST(CliHelp, WorksForEveryCommand) {
  const auto commands = listed_commands();
  ASSERT_GE(commands.size(), 2u);
  for (const std::vector<std::string>& command : commands) {
    SCOPED_TRACE(command.back());
    std::string shortest;
    for (const std::string flag : {"-h", "--help"}) {
      std::vector<std::string> arguments = command;
      arguments.push_back(flag);
      const Outcome help = run_panda_command(arguments);
      EXPECT_EQ(help.exit_code, 0);
      EXPECT_EQ(help.standard_error, "");
      EXPECT_NE(help.standard_output.find("Usage: panda " + command[0]), std::string::npos);
      EXPECT_GE(help.standard_output.size(), shortest.size());
      shortest = help.standard_output;
    }
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.begin(), "help");
    EXPECT_EQ(run_panda_command(arguments).standard_output, shortest);
  }
}

TEST(CliHelp, GeneratesManPageAndCompletions) {
  for (const std::string what : {"man", "bash-completion", "zsh-completion", "fish-completion"}) {
    const Outcome generated = run_panda_command({"--generate", what});
    EXPECT_EQ(generated.exit_code, 0);
    EXPECT_EQ(generated.standard_error, "");
    EXPECT_NE(generated.standard_output.find("synth"), std::string::npos) << what;
  }
}

// Runs a line of bash with the completion loaded; what it proposes for the words given.
std::string proposals(const std::string& words, int current) {
  const TemporaryDirectory directory;
  const std::string script =
      directory.write("completion", run_panda_command({"--generate", "bash-completion"}).standard_output);
  const std::string line = "bash -c 'source " + script + " && COMP_WORDS=(" + words +
                           ") COMP_CWORD=" + std::to_string(current) +
                           " && _panda && echo \"${COMPREPLY[*]}\"' > " + directory.path("out") + " 2>&1";
  EXPECT_EQ(std::system(line.c_str()), 0) << line;
  return content_of(directory.path("out"));
}

TEST(CliHelp, BashCompletionProposesCommandsOptionsAndValues) {
  EXPECT_EQ(proposals("panda sy", 1), "synth\n");
  EXPECT_EQ(proposals("panda synth --ki", 2), "--kind\n");
  EXPECT_EQ(proposals("panda synth --kind o", 3), "objects\n");
  EXPECT_EQ(proposals("panda info -o \"\"", 3), "table json jsonl csv\n");
}

TEST(CliHelp, PrintsTheVersion) {
  const Outcome version = run_panda_command({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.standard_output.compare(0, 6, "panda "), 0);
}

}  // namespace
}  // namespace panda::test
