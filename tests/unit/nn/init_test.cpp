#include "nn/init.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "memory_tensors.h"

namespace panda::nn {
namespace {

TEST(StreamOfName, MatchesPublishedFnvVectors) {
  // Test vectors of the FNV specification (draft-eastlake-fnv), FNV-1a, 64 bits.
  EXPECT_EQ(stream_of_name(""), 0xcbf29ce484222325u);
  EXPECT_EQ(stream_of_name("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(stream_of_name("foobar"), 0x85944171f73967e8u);
}

TEST(SeededResnetParameters, AreHeNormalAndFree) {
  const SeededResnetParameters parameters(resnet_config("resnet18"));
  const Tensor filter = parameters.load("layer4.1.conv2.weight");
  double sum = 0;
  double squares = 0;
  for (int64_t i = 0; i < filter.numel(); ++i) {
    const double value = filter.data<float>()[i];
    sum += value;
    squares += value * value;
  }
  const auto n = static_cast<double>(filter.numel());
  const double variance = 2.0 / (512 * 9);
  EXPECT_LT(std::abs(sum / n), 5 * std::sqrt(variance / n));
  EXPECT_LT(std::abs(squares / n / variance - 1), 5 * std::sqrt(2 / n));

  const std::map<std::string, float> constants = {
      {"bn1.weight", 1.0f}, {"bn1.bias", 0.0f}, {"bn1.running_mean", 0.0f}, {"bn1.running_var", 1.0f}};
  for (const auto& [name, value] : constants) {
    const Tensor tensor = parameters.load(name);
    for (int64_t i = 0; i < tensor.numel(); ++i) EXPECT_EQ(tensor.data<float>()[i], value) << name;
  }
}

TEST(SeededResnetParameters, DependOnSeedAndNameAlone) {
  const SeededResnetParameters a(resnet_config("resnet18", 0.25), 1);
  const SeededResnetParameters deeper(resnet_config("resnet34", 0.25), 1);
  const SeededResnetParameters other_seed(resnet_config("resnet18", 0.25), 2);
  const auto equal = [](const Tensor& x, const Tensor& y) {
    return x.shape() == y.shape() &&
           std::memcmp(x.data<float>(), y.data<float>(), static_cast<size_t>(x.bytes())) == 0;
  };
  const std::string name = "layer1.1.conv1.weight";
  const Tensor first = a.load(name);
  EXPECT_TRUE(equal(first, a.load(name)));
  EXPECT_TRUE(equal(first, deeper.load(name)));
  EXPECT_FALSE(equal(first, other_seed.load(name)));
  EXPECT_FALSE(equal(first, a.load("layer1.1.conv2.weight")));
}

TEST(SeededResnetParameters, ListWhatDetectionExpects) {
  ResnetConfig config = resnet_config("resnet50", 0.25);
  config.class_count = 7;
  const SeededResnetParameters parameters(config, 3);
  EXPECT_EQ(detect_resnet(parameters).arch, "resnet50");
  EXPECT_TRUE(parameters.contains("fc.bias"));
  EXPECT_EQ(message_of<InvalidArgument>([&] { (void)parameters.load("conv2.weight"); }),
            "seeded resnet50 (seed 3): no tensor conv2.weight");
}

}  // namespace
}  // namespace panda::nn
