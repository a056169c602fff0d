// panda gradcheck as a user runs it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

nlohmann::json rows_of(const Outcome& result) {
  EXPECT_EQ(result.exit_code, 0) << result.standard_error;
  return nlohmann::json::parse(result.standard_output);
}

TEST(CliGradcheck, ChecksEveryFunctionOnEveryDevice) {
  for (const char* device : {"reference", "cpu", "simt"}) {
    const auto rows =
        rows_of(run_panda_command({"gradcheck", "--device", device, "--elements", "20", "-o", "json"}));
    std::set<std::string> names;
    for (const auto& row : rows) {
      names.insert(row["name"]);
      EXPECT_EQ(row["within"], true);
      EXPECT_LE(row["elements"].get<int>(), 20);
      EXPECT_LE(row["relative_error"].get<double>(), std::string(device) == "reference" ? 1e-7 : 1e-5);
    }
    EXPECT_GE(names.size(), 15u);
    EXPECT_EQ(names.count("conv2d_batch_norm"), 1u);
  }
}

TEST(CliGradcheck, ChecksTheNamedFunctionsAlone) {
  const auto rows = rows_of(run_panda_command({"gradcheck", "linear", "compactness", "-o", "json"}));
  std::set<std::string> names;
  for (const auto& row : rows) names.insert(row["name"]);
  EXPECT_EQ(names, (std::set<std::string>{"linear", "compactness"}));
  const Outcome table = run_panda_command({"gradcheck", "linear"});
  EXPECT_NE(table.standard_output.find("relative error"), std::string::npos) << table.standard_output;
}

TEST(CliGradcheck, ChecksEveryParameterOfANetwork) {
  const auto rows = rows_of(run_panda_command({"gradcheck", "--arch", "resnet18", "--width", "0.125",
                                               "--directions", "1", "--batch-size", "2", "-o", "json"}));
  EXPECT_EQ(rows.size(), 62u);  // 20 convolutions with their batch norms, weight and bias of the last layer
  EXPECT_EQ(rows[0]["name"], "conv1.weight");
  for (const auto& row : rows) EXPECT_GT(row["relative_error"].get<double>(), 0);
}

TEST(CliGradcheck, EndsWithFourWhereAGradientIsBeyondTheLimit) {
  const Outcome result = run_panda_command({"gradcheck", "linear", "--limit", "1e-12", "-o", "json"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.error_lines(), 1) << result.standard_error;
  EXPECT_NE(result.standard_error.find("gradients of the device cpu are beyond the limit 1e-12"),
            std::string::npos)
      << result.standard_error;
  // What was found is printed all the same.
  EXPECT_EQ(nlohmann::json::parse(result.standard_output).at(0)["within"], false);
}

TEST(CliGradcheck, RefusesWhatItDoesNotKnow) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"gradcheck", "conv3d"},
                                             {"gradcheck", "linear", "--arch", "resnet18"},
                                             {"gradcheck", "--arch", "vgg16"},
                                             {"gradcheck", "--elements", "19"},
                                             {"gradcheck", "--limit", "-1"}}) {
    const Outcome result = run_panda_command(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments.back();
    EXPECT_EQ(result.error_lines(), 1) << result.standard_error;
    EXPECT_EQ(result.standard_output, "");
  }
}

}  // namespace
}  // namespace panda::test
