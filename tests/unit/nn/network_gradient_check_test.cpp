// Gradients of whole networks against f64 differences.
#include "nn/network_gradient_check.h"

#include <gtest/gtest.h>

#include "kernels/device_registry.h"

namespace panda::nn {
namespace {

NetworkGradientOptions small(const std::string& arch, BatchNormMode mode) {
  NetworkGradientOptions options;
  options.config = resnet_config(arch, 0.125);
  options.config.arch = "resnet";
  options.config.depths = {1, 1, 1, 1};
  options.config.class_count = 5;
  options.mode = mode;
  // Batch statistics of few values are badly conditioned.
  options.images = mode == BatchNormMode::kBatchStatistics ? 4 : 2;
  options.directions = 1;
  return options;
}

class NetworkGradient : public testing::TestWithParam<std::string> {};

TEST_P(NetworkGradient, IsThatOfDifferencesInEveryParameter) {
  const auto oracle = kernels::make_device({"reference", 1, ""});
  const auto cpu = kernels::make_device({"cpu", 2, ""});
  for (const BatchNormMode mode : {BatchNormMode::kEvaluation, BatchNormMode::kBatchStatistics}) {
    const NetworkGradientOptions options = small(GetParam(), mode);
    const auto exact = check_network_gradient(*oracle, *oracle, options);
    const auto single = check_network_gradient(*oracle, *cpu, options);
    ASSERT_EQ(exact.size(), single.size());
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_TRUE(exact[i].relative_error <= 2e-6) << exact[i].name << " " << exact[i].relative_error;
      EXPECT_TRUE(single[i].relative_error <= 1e-3) << single[i].name << " " << single[i].relative_error;
    }
  }
}

TEST(NetworkGradientCheck, RefusesANetworkWithoutClasses) {
  const auto oracle = kernels::make_device({"reference", 1, ""});
  NetworkGradientOptions options = small("resnet18", BatchNormMode::kEvaluation);
  options.config.class_count = 0;
  EXPECT_THROW((void)check_network_gradient(*oracle, *oracle, options), InvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Blocks, NetworkGradient, testing::Values("resnet18", "resnet50"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace panda::nn
