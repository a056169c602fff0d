#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

TEST(CliDemo, LearnsDetectsAndLocatesWithTheEmbeddedNetwork) {
  const TemporaryDirectory directory;
  const std::string out = directory.path("demo");
  const Outcome demo = run_panda_command({"demo", "--out", out, "-o", "json"});
  ASSERT_EQ(demo.exit_code, 0) << demo.standard_error;
  const auto json = nlohmann::json::parse(demo.standard_output);
  EXPECT_EQ(json.at("n_train"), 36);
  EXPECT_EQ(json.at("n_test"), 24);
  EXPECT_EQ(json.at("n_anomalous"), 15);
  EXPECT_NE(json.at("network").get<std::string>().find("embedded"), std::string::npos);
  // What pretrained features are for: clearly above those of a network that learnt nothing.
  EXPECT_GT(json.at("image_auroc").get<double>(), json.at("image_auroc_random_weights").get<double>() + 0.1);
  EXPECT_GT(json.at("pixel_auroc").get<double>(), 0.95);
  EXPECT_GT(json.at("pro").get<double>(), 0.9);
  EXPECT_NE(content_of(out + "/report.html").find("</html>"), std::string::npos);
  const std::string svg = content_of(out + "/results.svg");
  EXPECT_EQ(svg.compare(0, 4, "<svg"), 0);
  EXPECT_EQ(std::count(svg.begin(), svg.end(), '\0'), 0);

  // The models it leaves are models like any other, and give the same figures.
  const Outcome eval =
      run_panda_command({"eval", out + "/model.safetensors", "--data", out + "/data", "-o", "json"});
  ASSERT_EQ(eval.exit_code, 0) << eval.standard_error;
  EXPECT_EQ(nlohmann::json::parse(eval.standard_output).at("image_auroc"), json.at("image_auroc"));

  const Outcome again = run_panda_command({"demo", "--out", out});
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_EQ(again.error_lines(), 1);
  EXPECT_NE(again.standard_error.find("exists already"), std::string::npos);
}

TEST(CliDemo, RefusesWeightsThatAreNone) {
  const TemporaryDirectory directory;
  const std::string junk =
      directory.write("junk.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  const Outcome demo = run_panda_command({"demo", "--out", directory.path("demo"), "--weights", junk});
  EXPECT_EQ(demo.exit_code, 2);
  EXPECT_EQ(demo.error_lines(), 1);
  EXPECT_FALSE(path_exists(directory.path("demo")));
}

}  // namespace
}  // namespace panda::test
