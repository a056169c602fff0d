// Whatever stands on the command line: one line of error, exit code 2, nothing written.

#include <gtest/gtest.h>

#include "kernels/tensor/random.h"
#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

constexpr uint64_t kSeed = 20;

void expect_refused(const std::vector<std::string>& arguments) {
  const TemporaryDirectory directory;
  RunOptions options;
  options.directory = directory.path();
  const Outcome outcome = run_panda_command(arguments, options);
  std::string line = "panda";
  for (const std::string& argument : arguments) line += " '" + argument + "'";
  SCOPED_TRACE(line);
  EXPECT_EQ(outcome.exit_code, 2) << outcome.standard_error;
  EXPECT_EQ(outcome.error_lines(), 1) << outcome.standard_error;
  EXPECT_EQ(outcome.standard_error.compare(0, 7, "panda: "), 0) << outcome.standard_error;
  EXPECT_EQ(outcome.standard_output, "");
  EXPECT_TRUE(list_directory(directory.path()).empty()) << "something was written";
  for (size_t i = 0; i + 1 < outcome.standard_error.size(); ++i) {
    const auto byte = static_cast<unsigned char>(outcome.standard_error[i]);
    EXPECT_TRUE(byte >= 0x20 && byte != 0x7f) << "a control character in " << outcome.standard_error;
  }
}

TEST(CliGarbage, EveryKindOfMistakeIsOneLine) {
  const std::vector<std::vector<std::string>> lines = {
      {},
      {""},
      {"-"},
      {"--"},
      {"--", "info"},
      {"-x"},
      {"--nonsense"},
      {"-qx", "info"},
      {"--threads"},
      {"--threads", "info"},
      {"frobnicate"},
      {"INFO"},
      {"info", "extra"},
      {"info", "--"},
      {"info", "-"},
      {"info", "--", "extra"},
      {"info", "--out", "x"},
      {"info", "--threads", "0"},
      {"info", "--threads=-1"},
      {"info", "--threads", "1e3"},
      {"info", "--threads="},
      {"info", "--seed", "18446744073709551616"},
      {"info", "-o"},
      {"info", "-o", "xml"},
      {"info", "--device", "tpu"},
      {"info", "--device", "cuda:99999"},
      {"info", "--precision", "f64"},
      {"info", "-v=1"},
      {"info", "--quiet=yes"},
      {"--version", "now"},
      {"--generate"},
      {"--generate", "html"},
      {"--generate", "man", "more"},
      {"help", "nothing"},
      {"synth"},
      {"synth", "--out"},
      {"synth", "--out", ""},
      {"synth", "--out", "--force"},
      {"synth", "--out", "d", "--count", "7"},
      {"synth", "--out", "d", "--count", "99999999999999999999"},
      {"synth", "--out", "d", "--size", "31"},
      {"synth", "--out", "d", "--size", "nan"},
      {"synth", "--out", "d", "--kind", "texturs"},
      {"synth", "--out", "/"},
      {"synth", "--out", "/dev/null"},
      {"synth", "--out", "/dev/null/d"},
      {"synth", "--out", "/proc/self/d"},
      {"synth", "d"},
      {"in\x1b[31mfo\n"},
      {"info", "--a\tb\x7f"},
      {"\xff\xfe"},
      {std::string(100000, 'a')},
      {"info", "--" + std::string(100000, 'a')},
  };
  for (const auto& line : lines) {
    if (line == std::vector<std::string>{"info", "--"}) continue;  // that one is right
    expect_refused(line);
  }
  EXPECT_EQ(run_panda_command({"info", "--"}).exit_code, 0);
}

// One argument made of pieces that parsers stumble over.
std::string garbage_word(Random& random) {
  static const std::vector<std::string> kPieces = {
      "-",    "--",      "=",      "out",   "seed",   "threads", "o",     "q",
      "json", "\x1b[2J", "\n",     "\r",    "\t",     "%s%n",    "../..", "0",
      "-1",   "1e9",     "nan",    "\xff",  "\u202e", "'",       "\"",    "$(x)",
      "\\",   " ",       "device", "cuda:", "kind",   "count",   "synth", "9999999999999999999",
      ":",    ",",       "h"};
  std::string word;
  const int64_t pieces = 1 + random.next_below(4);
  for (int64_t i = 0; i < pieces; ++i) {
    word += kPieces[static_cast<size_t>(random.next_below(static_cast<int64_t>(kPieces.size())))];
  }
  return word;
}

TEST(CliGarbage, RandomLinesAreRefusedInOneLine) {
  Random random(kSeed);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    std::vector<std::string> arguments;
    if (random.next_below(2) == 0) arguments.push_back(random.next_below(2) == 0 ? "info" : "synth");
    const int64_t words = 1 + random.next_below(4);
    for (int64_t word = 0; word < words; ++word) arguments.push_back(garbage_word(random));
    // The few that are right by chance: a request for help, or a valid global option of info.
    const TemporaryDirectory directory;
    RunOptions options;
    options.directory = directory.path();
    if (run_panda_command(arguments, options).exit_code == 0) continue;
    ++refused;
    expect_refused(arguments);
  }
  EXPECT_GE(refused, 340) << "seed " << kSeed;
}

}  // namespace
}  // namespace panda::test
