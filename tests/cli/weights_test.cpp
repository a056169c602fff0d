#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

// A safetensors file of one f32 tensor "a\x1b" of shape [2, 2] with the values 1, 2, 3, 1e38.
std::string small_weights() {
  std::string header = R"({"a\u001b":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const float values[] = {1, 2, 3, 1e38f};
  std::string bytes(8 + header.size() + sizeof values, '\0');
  const uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  std::memcpy(bytes.data() + 8 + header.size(), values, sizeof values);
  return bytes;
}

TEST(CliWeights, EmbeddedIsAWordForTheNetworkInside) {
  const TemporaryDirectory directory;
  const Outcome json = run_panda_command({"weights", "inspect", "embedded", "-o", "json"});
  ASSERT_EQ(json.exit_code, 0) << json.standard_error;
  const std::string sha256 = nlohmann::json::parse(json.standard_output).at("sha256");
  const std::string copy = directory.path("copy.safetensors");
  const Outcome convert = run_panda_command({"weights", "convert", "embedded", copy});
  ASSERT_EQ(convert.exit_code, 0) << convert.standard_error;
  const std::string data = directory.path("data");
  ASSERT_EQ(run_panda_command({"synth", "--out", data, "--size", "64", "--count", "12"}).exit_code, 0);
  std::string models[2];
  for (const std::string& weights : {std::string("embedded"), copy}) {
    const std::string model = directory.path(weights == "embedded" ? "a.panda" : "b.panda");
    const Outcome fit = run_panda_command({"fit", "dn2", "--data", data, "--weights", weights, "--resize",
                                           "32", "--crop", "32", "--out", model});
    ASSERT_EQ(fit.exit_code, 0) << fit.standard_error;
    models[weights == "embedded" ? 0 : 1] = content_of(model);
  }
  EXPECT_NE(models[0].find(sha256), std::string::npos);
  // The same tensors, whose file is another.
  EXPECT_EQ(models[0].size(), models[1].size());
}

TEST(CliWeights, InspectShowsTensorsInEveryFormat) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("w.safetensors", small_weights());
  const Outcome json = run_panda_command({"weights", "inspect", path, "--values", "-o", "json"});
  ASSERT_EQ(json.exit_code, 0) << json.standard_error;
  const auto parsed = nlohmann::json::parse(json.standard_output);
  EXPECT_EQ(parsed.at("n_tensors"), 1);
  EXPECT_EQ(parsed.at("n_values"), 4);
  EXPECT_EQ(parsed.at("sha256").get<std::string>().size(), 64u);
  const auto& tensor = parsed.at("tensors").at(0);
  EXPECT_EQ(tensor.at("name"), "a\x1b");
  EXPECT_EQ(tensor.at("shape"), nlohmann::json({2, 2}));
  EXPECT_EQ(tensor.at("maximum").get<float>(), 1e38f);
  const Outcome table = run_panda_command({"weights", "inspect", path});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.standard_output.find("a\\x1b"), std::string::npos);
  EXPECT_EQ(table.standard_output.find('\x1b'), std::string::npos);
  EXPECT_EQ(run_panda_command({"weights", "inspect", path, "-o", "csv"}).standard_output,
            "name,dtype,shape,bytes\na\\x1b,f32,\"[2,2]\",16\n");
}

TEST(CliWeights, ConvertKeepsBitsAndNeverOverwritesUnforced) {
  const TemporaryDirectory directory;
  const std::string in = directory.write("in.safetensors", small_weights());
  const std::string out = directory.path("out.safetensors");
  ASSERT_EQ(run_panda_command({"weights", "convert", in, out}).exit_code, 0);
  const auto content_hash = [](const std::string& path) {
    const Outcome inspected = run_panda_command({"weights", "inspect", path, "--values", "-o", "json"});
    return nlohmann::json::parse(inspected.standard_output).at("content_sha256").get<std::string>();
  };
  EXPECT_EQ(content_hash(in), content_hash(out));
  const std::string before = content_of(out);
  const Outcome refused = run_panda_command({"weights", "convert", in, out, "--dtype", "bf16"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.standard_error,
            "panda: " + out + ": exists, expected a new file (--force replaces it)\n");
  EXPECT_EQ(content_of(out), before);
  EXPECT_EQ(run_panda_command({"weights", "convert", in, out, "--dtype", "bf16", "--force"}).exit_code, 0);
  EXPECT_NE(content_of(out), before);
}

TEST(CliWeights, BadInputIsOneLineAndWritesNothing) {
  const TemporaryDirectory directory;
  const std::string whole = small_weights();
  const std::string good = directory.write("good.safetensors", whole);
  directory.write("empty", "");
  directory.write("text", "hello\n");
  directory.write("cut", whole.substr(0, whole.size() - 1));
  directory.write("header", whole.substr(0, 20));
  const std::vector<std::string> before = list_directory(directory.path());
  for (const std::string name : {"empty", "text", "cut", "header", "missing", "."}) {
    SCOPED_TRACE(name);
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"weights", "inspect", directory.path(name)},
             {"weights", "convert", directory.path(name), directory.path("out.safetensors")}}) {
      const Outcome refused = run_panda_command(arguments);
      EXPECT_EQ(refused.exit_code, 2);
      EXPECT_EQ(refused.error_lines(), 1) << refused.standard_error;
      EXPECT_NE(refused.standard_error.find(directory.path(name)), std::string::npos)
          << refused.standard_error;
      EXPECT_EQ(refused.standard_output, "");
    }
  }
  // 1e38 is beyond f16, and the name of OUT is checked before IN is read.
  const Outcome overflow =
      run_panda_command({"weights", "convert", good, directory.path("out.safetensors"), "--dtype", "f16"});
  EXPECT_EQ(overflow.exit_code, 2);
  EXPECT_EQ(overflow.error_lines(), 1);
  EXPECT_EQ(run_panda_command({"weights", "convert", good, directory.path("out.pth")}).exit_code, 2);
  EXPECT_EQ(list_directory(directory.path()), before);
}

}  // namespace
}  // namespace panda::test
