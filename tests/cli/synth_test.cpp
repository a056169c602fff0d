#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> small_synth(const std::string& out) {
  return {"synth", "--out", out, "--count", "10", "--size", "32"};
}

TEST(CliSynth, MakesTheLayoutAndSaysSo) {
  const TemporaryDirectory directory;
  std::vector<std::string> arguments = small_synth(directory.path("new/set"));
  arguments.insert(arguments.end(), {"-o", "json", "--kind", "objects", "--seed", "1"});
  const Outcome synth = run_panda_command(arguments);
  ASSERT_EQ(synth.exit_code, 0) << synth.standard_error;
  EXPECT_EQ(synth.standard_error, "") << "progress is for terminals only";
  const auto json = nlohmann::json::parse(synth.standard_output);
  EXPECT_EQ(json.at("n_train"), 6);
  EXPECT_EQ(json.at("design"), "nut");
  EXPECT_TRUE(fs::exists(directory.path("new/set/train/good/000.png")));
  EXPECT_TRUE(fs::exists(directory.path("new/set/test/bent/000.png")));
  EXPECT_TRUE(fs::exists(directory.path("new/set/ground_truth/bent/000_mask.png")));
}

TEST(CliSynth, NeverOverwritesUnforced) {
  const TemporaryDirectory directory;
  ASSERT_EQ(run_panda_command(small_synth(directory.path("set"))).exit_code, 0);
  const std::string before = content_of(directory.path("set/train/good/000.png"));
  std::vector<std::string> arguments = small_synth(directory.path("set"));
  arguments.insert(arguments.end(), {"--seed", "7"});
  const Outcome refused = run_panda_command(arguments);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.error_lines(), 1);
  EXPECT_NE(refused.standard_error.find("is not empty"), std::string::npos) << refused.standard_error;
  EXPECT_EQ(content_of(directory.path("set/train/good/000.png")), before);
  arguments.emplace_back("--force");
  EXPECT_EQ(run_panda_command(arguments).exit_code, 0);
  EXPECT_NE(content_of(directory.path("set/train/good/000.png")), before);
}

TEST(CliSynth, EscapesControlCharactersInNames) {
  const TemporaryDirectory directory;
  const std::string name = "a\x1b[2J\nb";
  directory.write(name + "/mine.txt", "x");
  const Outcome refused = run_panda_command(small_synth(directory.path(name)));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.error_lines(), 1);
  EXPECT_NE(refused.standard_error.find("a\\x1b[2J\\x0ab: is not empty"), std::string::npos)
      << refused.standard_error;
  const Outcome made = run_panda_command(small_synth(directory.path(name + "2")));
  EXPECT_EQ(made.exit_code, 0);
  EXPECT_EQ(made.standard_output.find('\x1b'), std::string::npos);
}

TEST(CliSynth, ReportsProgressToPrograms) {
  const TemporaryDirectory directory;
  std::vector<std::string> arguments = small_synth(directory.path("set"));
  arguments.insert(arguments.end(), {"--progress", "keyvalue"});
  const Outcome synth = run_panda_command(arguments);
  EXPECT_EQ(synth.exit_code, 0);
  EXPECT_NE(synth.standard_error.find("stage=drawing_images done=10 total=10 eta_seconds=0.0\n"),
            std::string::npos);
  const std::string last = "progress=end\n";
  ASSERT_GE(synth.standard_error.size(), last.size());
  EXPECT_EQ(synth.standard_error.substr(synth.standard_error.size() - last.size()), last);
  arguments = small_synth(directory.path("quiet"));
  arguments.insert(arguments.end(), {"--progress", "keyvalue", "-q"});
  EXPECT_EQ(run_panda_command(arguments).standard_error, "");
}

// Sends the signal once the first pictures are there.
RunOptions signalled(const TemporaryDirectory& directory, int signal_number) {
  RunOptions options;
  options.while_running = [&directory, signal_number](pid_t child) {
    EXPECT_TRUE(wait_until([&] {
      for (const auto& entry : fs::directory_iterator(directory.path())) {
        std::error_code error;
        if (fs::exists(entry.path() / "train/good/001.png", error)) return true;
      }
      return false;
    }));
    ::kill(child, signal_number);
  };
  return options;
}

TEST(CliSynth, LeavesNothingWhenInterrupted) {
  for (const int signal_number : {SIGINT, SIGTERM}) {
    const TemporaryDirectory directory;
    const Outcome interrupted = run_panda_command(
        {"synth", "--out", directory.path("set"), "--count", "100000"}, signalled(directory, signal_number));
    EXPECT_EQ(interrupted.exit_code, 130);
    EXPECT_EQ(interrupted.standard_error, "panda: interrupted\n");
    EXPECT_EQ(interrupted.standard_output, "");
    EXPECT_TRUE(list_directory(directory.path()).empty());
  }
}

}  // namespace
}  // namespace panda::test
