#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

TEST(CliInfo, PrintsJsonWithTheKeysOfTheContract) {
  const Outcome info = run_panda_command({"info", "-o", "json"});
  EXPECT_EQ(info.exit_code, 0);
  EXPECT_EQ(info.standard_error, "");
  const auto json = nlohmann::json::parse(info.standard_output);
  EXPECT_TRUE(json.at("version").is_string());
  EXPECT_TRUE(json.at("isa").is_string());
  EXPECT_TRUE(json.at("cuda").is_object());
  ASSERT_TRUE(json.at("devices").is_array());
  ASSERT_FALSE(json.at("devices").empty());
  for (const auto& device : json.at("devices")) {
    EXPECT_TRUE(device.at("name").is_string());
    EXPECT_TRUE(device.at("available").is_boolean());
  }
  EXPECT_TRUE(json.at("auto").at("reason").is_string());
}

TEST(CliInfo, PrintsForPeopleAndAsCsv) {
  const Outcome table = run_panda_command({"-q", "info"});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.standard_output.find("--device auto"), std::string::npos);
  const Outcome csv = run_panda_command({"info", "--format=csv"});
  EXPECT_EQ(std::count(csv.standard_output.begin(), csv.standard_output.end(), '\n'), 2);
}

TEST(CliInfo, EndsWith3WhereTheDiskIsFull) {
  RunOptions options;
  options.standard_output_path = "/dev/full";
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"info"}, {"info", "-o", "json"}, {"--help"}, {"--generate", "man"}}) {
    const Outcome full = run_panda_command(arguments, options);
    EXPECT_EQ(full.exit_code, 3);
    EXPECT_EQ(full.standard_error, "panda: standard output: cannot write: No space left on device\n");
  }
}

TEST(CliInfo, SaysSoWhenStandardOutputIsClosed) {
  RunOptions options;
  options.close_standard_output = true;
  const Outcome closed = run_panda_command({"info"}, options);
  EXPECT_EQ(closed.exit_code, 2);
  EXPECT_EQ(closed.standard_error, "panda: standard output: cannot write: Bad file descriptor\n");
}

TEST(CliInfo, AReaderThatGoesAwayIsNoError) {
  const std::string command = std::string(PANDA_BINARY) + " --generate man | true; exit ${PIPESTATUS[0]}";
  EXPECT_EQ(std::system(("bash -c '" + command + "'").c_str()), 0);
}

}  // namespace
}  // namespace panda::test
