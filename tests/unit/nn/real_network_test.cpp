// Real networks on real photographs, from files to predicted classes, against torchvision and PyTorch
// (tests/golden/make_imagenet_goldens.py). Needs $PANDA_DATA.
//
// The first images of the sample are taken, as many as PANDA_TEST_IMAGES says (default 32; 1000 is all,
// bench/imagenet_top1 does that with figures).

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>

#include "kernels/device_registry.h"
#include "tests/support/goldens.h"
#include "tests/support/imagenet_sample.h"
#include "tests/support/real_data.h"
#include "weights/safetensors.h"

namespace panda::nn {
namespace {

constexpr size_t kDefaultImages = 32;
constexpr size_t kBatch = 8;

class RealNetwork : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string root = test::real_data();
    if (root.empty()) GTEST_SKIP() << "PANDA_DATA is not set: no real weights and images";
    root_ = root;
    goldens_ = test::read_goldens("imagenet_goldens.txt", GetParam());
    ASSERT_EQ(goldens_.at("logits").size(), 1000u);
  }
  [[nodiscard]] Resnet load(Device& device) const {
    const weights::SafetensorsFile file(join_path(root_, "weights/" + GetParam() + ".safetensors"));
    return {device, detect_resnet(file), file};
  }

  std::string root_;
  std::map<std::string, std::vector<double>> goldens_;
};

TEST_P(RealNetwork, LogitsMatchPyTorchFromTheFileOn) {
  const std::vector<std::string> paths = imagenet_sample_paths(root_);
  const Tensor image = load_imagenet_batch(paths, 0, 1);
  const std::vector<double>& expected = goldens_.at("logits");
  for (const auto& [name, bound] : {std::pair{"reference", 2e-6}, std::pair{"cpu", 1e-5}}) {
    const auto device = kernels::make_device({name, 0, ""});
    Resnet net = load(*device);
    ResnetRequest request;
    request.logits = true;
    const Tensor logits = clone_to(net.forward(image, request).logits, host());
    ASSERT_EQ(logits.numel(), 1000);
    double gap = 0;
    double scale = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      gap += std::pow(logits.data<float>()[i] - expected[i], 2);
      scale += expected[i] * expected[i];
    }
    ASSERT_GT(scale, 0);
    const double error = std::sqrt(gap / scale);
    RecordProperty(text("relative_error_", name), text(error));
    EXPECT_TRUE(error <= bound) << GetParam() << " on " << name << ": relative error " << error;
  }
}

TEST_P(RealNetwork, PredictsWhatPyTorchPredicts) {
  const std::vector<std::string> paths = imagenet_sample_paths(root_);
  const char* wanted = std::getenv("PANDA_TEST_IMAGES");
  const size_t count = std::min(wanted == nullptr ? kDefaultImages : std::stoul(wanted), paths.size());
  const auto device = kernels::make_device({"cpu", 0, ""});
  Resnet net = load(*device);
  size_t different = 0;
  for (size_t begin = 0; begin < count; begin += kBatch) {
    const size_t end = std::min(begin + kBatch, count);
    const std::vector<int64_t> predictions = predict(net, load_imagenet_batch(paths, begin, end));
    for (size_t i = begin; i < end; ++i) {
      different += static_cast<double>(predictions[i - begin]) == goldens_.at("predictions")[i] ? 0 : 1;
    }
  }
  // Two logits of one image may be as near as rounding: one image in a thousand is allowed for that.
  EXPECT_LE(different, count / 1000);
}

INSTANTIATE_TEST_SUITE_P(Weights, RealNetwork, testing::Values("resnet18-imagenet", "resnet50-imagenet-f16"),
                         [](const auto& tested) { return tested.param.substr(0, 8); });

}  // namespace
}  // namespace panda::nn
