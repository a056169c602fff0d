// The command of a CUDA build where there is no GPU to be had: a driver library in front of the machine's own
// plays every reason.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/cli/run_command.h"

namespace panda::test {
namespace {

class CliCuda : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {"LD_LIBRARY_PATH", "PLAYED_DRIVER_INIT", "PLAYED_DRIVER_VERSION"})
      ::unsetenv(name);
  }
  /// A driver that serves this CUDA version and answers cuInit so.
  static void play_driver(int version, int init) {
    ::setenv("LD_LIBRARY_PATH", PANDA_PLAYED_DRIVER, 1);
    ::setenv("PLAYED_DRIVER_VERSION", std::to_string(version).c_str(), 1);
    ::setenv("PLAYED_DRIVER_INIT", std::to_string(init).c_str(), 1);
  }
  /// A file of the driver's name that the loader cannot use: as if there were none.
  void play_no_driver() {
    folder_.write("libcuda.so.1", "not a library");
    ::setenv("LD_LIBRARY_PATH", folder_.path().c_str(), 1);
  }
  static void expect_refused(const std::string& device, int exit_code, const std::string& line) {
    const Outcome outcome = run_panda_command({"--device", device, "info"});
    EXPECT_EQ(outcome.exit_code, exit_code);
    EXPECT_EQ(outcome.standard_error, "panda: " + device + ": " + line + "\n");
    EXPECT_EQ(outcome.standard_output, "");
  }

  TemporaryDirectory folder_;
};

TEST_F(CliCuda, SaysThatThereIsNoDriver) {
  play_no_driver();
  expect_refused("cuda", 2, "no NVIDIA driver on this machine");
  expect_refused("cuda:3", 2, "no NVIDIA driver on this machine");
}

TEST_F(CliCuda, SaysThatTheDriverIsTooOld) {
  play_driver(11040, 0);
  const Outcome outcome = run_panda_command({"--device", "cuda", "info"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_TRUE(outcome.standard_error.starts_with(
      "panda: cuda: the NVIDIA driver is too old: it serves CUDA 11.4, this build needs "))
      << outcome.standard_error;
  EXPECT_EQ(outcome.error_lines(), 1);
}

TEST_F(CliCuda, SaysThatThereIsNoGpu) {
  play_driver(99000, 100);
  expect_refused("cuda", 2, "no NVIDIA GPU on this machine");
}

TEST_F(CliCuda, ADriverThatFailsIsAFailedDevice) {
  play_driver(99000, 999);
  expect_refused("cuda", 4, "the NVIDIA driver fails: unknown error (cudaErrorUnknown)");
}

TEST_F(CliCuda, AutoTakesTheCpuAndSaysWhyInOneLine) {
  play_no_driver();
  const std::vector<std::string> fit = {
      "fit",    "dn2",          "--weights", folder_.path("none.safetensors"),
      "--data", folder_.path(), "--out",     folder_.path("model")};
  const Outcome outcome = run_panda_command(fit);
  EXPECT_TRUE(outcome.standard_error.starts_with(
      "panda: warning: no NVIDIA driver on this machine; computing on the CPU\n"))
      << outcome.standard_error;
  EXPECT_EQ(outcome.error_lines(), 2);  // the other: there are no weights
  std::vector<std::string> asked_for_cpu = fit;
  asked_for_cpu.insert(asked_for_cpu.end(), {"--device", "cpu"});
  EXPECT_EQ(run_panda_command(asked_for_cpu).error_lines(), 1);
}

TEST_F(CliCuda, InfoListsItWithTheReason) {
  play_driver(99000, 100);
  const Outcome outcome = run_panda_command({"info", "-o", "json"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.standard_error, "");
  const auto json = nlohmann::json::parse(outcome.standard_output);
  EXPECT_EQ(json.at("device"), "cpu");
  EXPECT_EQ(json.at("auto").at("reason"), "no NVIDIA GPU on this machine");
  EXPECT_EQ(json.at("cuda").at("available"), false);
  EXPECT_EQ(json.at("cuda").at("reason"), "no NVIDIA GPU on this machine");
}

}  // namespace
}  // namespace panda::test
