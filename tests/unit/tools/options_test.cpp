#include "tools/options.h"

#include <gtest/gtest.h>

#include "tools/commands.h"
#include "tools/context.h"

namespace panda::tools {
namespace {

CommandSpec sample_command() {
  return {.name = "sample",
          .summary = "",
          .description = "",
          .positionals =
              {{.name = "METHOD", .summary = "", .kind = OptionKind::kChoice, .choices = {"dn2", "spade"}},
               {.name = "IMAGE", .summary = "", .required = false, .repeatable = true}},
          .options = {{.name = "out",
                       .kind = OptionKind::kDirectory,
                       .value_name = "DIR",
                       .default_value = "",
                       .summary = "",
                       .detail = "",
                       .required = true},
                      {.name = "k",
                       .short_name = 'k',
                       .kind = OptionKind::kInteger,
                       .value_name = "K",
                       .default_value = "2",
                       .summary = "",
                       .detail = "",
                       .minimum = 1,
                       .maximum = 1000},
                      {.name = "lr",
                       .kind = OptionKind::kReal,
                       .value_name = "RATE",
                       .default_value = "",
                       .summary = "",
                       .detail = "",
                       .minimum = 0},
                      {.name = "layers",
                       .kind = OptionKind::kIntegerList,
                       .value_name = "LIST",
                       .default_value = "1,2,3",
                       .summary = "",
                       .detail = "",
                       .minimum = 1,
                       .maximum = 4},
                      {.name = "note",
                       .kind = OptionKind::kText,
                       .value_name = "TEXT",
                       .default_value = "",
                       .summary = "",
                       .detail = "",
                       .repeatable = true},
                      {.name = "force",
                       .short_name = 'f',
                       .kind = OptionKind::kFlag,
                       .value_name = "",
                       .default_value = "",
                       .summary = "",
                       .detail = ""}},
          .examples = {}};
}

ParsedOptions parse(const std::vector<std::string>& arguments) {
  return parse_options(sample_command(), global_options(), arguments);
}

std::string error_of(const std::vector<std::string>& arguments) {
  try {
    (void)parse(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Options, TakesValuesInEverySpelling) {
  const ParsedOptions options =
      parse({"dn2", "--out=a=b", "-k7", "--lr", "1e-3", "-fq", "-o", "json", "x.png", "--", "-y.png", "--z"});
  EXPECT_EQ(options.text("out"), "a=b");
  EXPECT_EQ(options.integer("k"), 7);
  EXPECT_EQ(options.real("lr"), 1e-3);
  EXPECT_TRUE(options.flag("force"));
  EXPECT_TRUE(options.flag("quiet"));
  EXPECT_FALSE(options.flag("verbose"));
  EXPECT_EQ(options.text("format"), "json");
  EXPECT_EQ(options.positionals(), (std::vector<std::string>{"dn2", "x.png", "-y.png", "--z"}));
}

TEST(Options, GivesDefaultsAndSaysWhatWasGiven) {
  const ParsedOptions options = parse({"dn2", "--out", "d"});
  EXPECT_EQ(options.integer("k"), 2);
  EXPECT_EQ(options.integers("layers"), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_FALSE(options.given("k"));
  EXPECT_TRUE(options.has("k"));
  EXPECT_FALSE(options.has("lr"));
  EXPECT_TRUE(options.given("out"));
  EXPECT_THROW((void)options.integer("no-such-option"), InternalError);
  EXPECT_THROW((void)options.real("lr"), InternalError);
}

TEST(Options, SaysTheCommandLineAgain) {
  const std::vector<std::string> words = {"dn2", "a b.png", "--out", "it's",   "-fk",
                                          "3",   "--note",  "a",     "--note", "$b"};
  EXPECT_EQ(parse(words).words(), "dn2 'a b.png' --force --k=3 --note=a --note='$b' --out='it'\\''s'");
  EXPECT_EQ(parse({"dn2", "x.png", "--out", "d"}).words(), "dn2 x.png --out=d");
}

TEST(Options, LastValueWinsUnlessRepeatable) {
  const ParsedOptions options =
      parse({"dn2", "--out", "d", "-k", "3", "-k", "4", "--note", "a", "--note", "b"});
  EXPECT_EQ(options.integer("k"), 4);
  EXPECT_EQ(options.texts("note"), (std::vector<std::string>{"a", "b"}));
}

TEST(Options, TakesNegativeNumbersAsValues) {
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--lr", "-1"}), "sample: --lr: expected a number >= 0, got '-1'");
}

TEST(Options, NamesWhatIsWrongAndWhatWasExpected) {
  EXPECT_EQ(error_of({"dn2", "--out", "d", "-k", "x"}),
            "sample: -k: expected an integer from 1 to 1000, got 'x'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--k", "0"}),
            "sample: --k: expected an integer from 1 to 1000, got '0'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--k=1.5"}),
            "sample: --k: expected an integer from 1 to 1000, got '1.5'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--k="}),
            "sample: --k: expected an integer from 1 to 1000, got ''");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "-k", "99999999999999999999"}),
            "sample: -k: expected an integer from 1 to 1000, got '99999999999999999999'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--lr", "nan"}),
            "sample: --lr: expected a number >= 0, got 'nan'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--lr", "1e999"}),
            "sample: --lr: expected a number >= 0, got '1e999'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--layers", "1,,2"}),
            "sample: --layers: expected integers from 1 to 4 separated by commas, got '1,,2'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "-o", "jsno"}),
            "sample: -o: expected one of: table, json, jsonl, csv, got 'jsno'; did you mean 'json'?");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--device", "cuda:"}),
            "sample: --device: expected auto, cpu, cuda, cuda:N, reference or simt, got 'cuda:'");
  EXPECT_EQ(error_of({"dn2", "--out", "d", "--force=yes"}), "sample: --force: takes no value, got 'yes'");
  EXPECT_EQ(error_of({"dn2", "--out"}), "sample: --out: expected a directory name, got nothing");
  EXPECT_EQ(error_of({"dn2", "--out", ""}), "sample: --out: expected a directory name, got ''");
  EXPECT_EQ(error_of({"dn2", "--out", "--force"}),
            "sample: --out: expected a directory name, got the option '--force' (write --out=--force if you "
            "mean it)");
}

TEST(Options, SuggestsTheNearestName) {
  EXPECT_EQ(error_of({"dn2", "--ouy", "d"}), "sample: unknown option '--ouy'; did you mean '--out'?");
  EXPECT_EQ(error_of({"dn2", "--thraeds=3"}),
            "sample: unknown option '--thraeds'; did you mean '--threads'?");
  EXPECT_EQ(error_of({"dn2", "--wavelength"}),
            "sample: unknown option '--wavelength' (see panda sample --help)");
  EXPECT_EQ(error_of({"dn2", "-x"}), "sample: unknown option '-x' (see panda sample --help)");
  EXPECT_EQ(error_of({"sapde", "--out", "d"}),
            "sample: METHOD: expected one of: dn2, spade; got 'sapde'; did you mean 'spade'?");
}

TEST(Options, AsksForWhatIsMissing) {
  EXPECT_EQ(error_of({"--out", "d"}), "sample: expected METHOD (see panda sample --help)");
  EXPECT_EQ(error_of({"dn2"}), "sample: expected --out DIR (see panda sample --help)");
  EXPECT_EQ(parse({"--help"}).help(), HelpRequest::kLong);
  EXPECT_EQ(parse({"-h"}).help(), HelpRequest::kShort);
}

TEST(Options, RefusesArgumentsThatTheCommandDoesNotTake) {
  CommandSpec command = sample_command();
  command.positionals.pop_back();
  try {
    (void)parse_options(command, global_options(), {"dn2", "more", "--out", "d"});
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "sample: unexpected argument 'more' (see panda sample --help)");
  }
}

TEST(Options, CountsLeadingGlobalOptions) {
  const auto count = [](const std::vector<std::string>& arguments) {
    return count_leading_options(global_options(), arguments);
  };
  EXPECT_EQ(count({"info"}), 0u);
  EXPECT_EQ(count({"-q", "--threads", "2", "--seed=3", "-ojson", "-qo", "csv", "info", "-v"}), 7u);
  EXPECT_EQ(count({"--threads"}), 1u);
  EXPECT_EQ(count({"--out", "x"}), 0u);
}

TEST(NearestWord, FindsTypingMistakesOnly) {
  EXPECT_EQ(nearest_word("synht", {"info", "synth"}), "synth");
  EXPECT_EQ(nearest_word("sy", {"info", "synth"}), "");
  EXPECT_EQ(nearest_word("", {"info"}), "");
  EXPECT_EQ(nearest_word(std::string(100000, 'a'), {"info"}), "");
}

// What the table of every command promises to the parser and to the help.
TEST(OptionTable, IsConsistentForEveryCommand) {
  for (const Command& command : commands()) {
    std::vector<std::string> names{"help", "version", "generate"};
    std::string letters = "hV";
    std::vector<OptionSpec> options = command.spec.options;
    options.insert(options.end(), global_options().begin(), global_options().end());
    for (const OptionSpec& option : options) {
      SCOPED_TRACE(command.spec.name + " --" + option.name);
      EXPECT_EQ(std::count(names.begin(), names.end(), option.name), 0) << "defined twice";
      names.push_back(option.name);
      if (option.short_name != '\0') {
        EXPECT_EQ(letters.find(option.short_name), std::string::npos) << "letter used twice";
        letters += option.short_name;
      }
      EXPECT_FALSE(option.summary.empty());
      EXPECT_EQ(option.value_name.empty(), option.kind == OptionKind::kFlag);
      EXPECT_EQ(option.choices.empty(), option.kind != OptionKind::kChoice);
      EXPECT_FALSE(option.required && !option.default_value.empty());
    }
    EXPECT_FALSE(command.spec.summary.empty());
    EXPECT_FALSE(command.spec.description.empty());
    // Also checks every default against its own range.
    EXPECT_EQ(parse_options(command.spec, global_options(), {"--help"}).help(), HelpRequest::kLong);
  }
}

}  // namespace
}  // namespace panda::tools
