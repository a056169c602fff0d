// The Fisher diagonal against PyTorch in float64, one image after another
// (tests/golden/make_fisher_goldens.py). In f64 the two must agree to what f64 can: that is the method. In
// f32 they may be apart by f32's rounding.

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/functions/loss.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "nn/init.h"
#include "nn/trainable_resnet.h"
#include "tests/support/goldens.h"

namespace panda::nn {
namespace {

constexpr uint64_t kSeed = 7;
constexpr int64_t kImages = 3;

ResnetConfig network(const std::string& name) {
  ResnetConfig config = resnet_config(name == "bottleneck" ? "resnet50" : "resnet18", 0.25);
  config.arch = "resnet";
  config.depths = {1, 1, 1, 1};
  config.class_count = 10;
  return config;
}

Tensor images_of(const std::string& stream, DType dtype) {
  Tensor images(host(), dtype, {kImages, 3, 40, 32}, "images");
  Random random(kSeed, stream_of_name(stream));
  for (int64_t i = 0; i < images.numel(); ++i) {
    const auto value = static_cast<float>(random.next_normal());
    if (dtype == DType::kF64) {
      images.data<double>()[i] = double{value};
    } else {
      images.data<float>()[i] = value;
    }
  }
  return images;
}

double value_of(const Tensor& tensor, int64_t index) {
  return tensor.dtype() == DType::kF64 ? tensor.data<double>()[index] : double{tensor.data<float>()[index]};
}

struct FisherRun {
  const char* device;
  const char* name;
  DType dtype;
  double tolerance;
};
class FisherGolden : public ::testing::TestWithParam<FisherRun> {};

TEST_P(FisherGolden, MatchesPyTorchOneImageAfterAnother) {
  const FisherRun& run = GetParam();
  const test::Goldens goldens = test::read_goldens("fisher_goldens.txt", run.name);
  ASSERT_FALSE(goldens.empty());
  const auto device = kernels::make_device({run.device, 2, ""});
  const ResnetConfig config = network(run.name);
  TrainableResnet net(*device, config, SeededResnetParameters(config, kSeed, BatchNormInit::kRandomized),
                      BatchNormMode::kEvaluation, run.dtype);
  net.train_stages({0, 1, 2, 3, 4}, true);
  net.parameters().set_squares(true);
  const int64_t classes[] = {3, 0, 9};
  autograd::Workspace workspace(*device);
  autograd::Tape tape(workspace);
  const Tensor images = images_of(text("images", goldens.at("stream")[0]), run.dtype);
  const autograd::Variable logits = net.logits(tape, net.features(tape, tape.constant(images)));
  tape.backward({{softmax_cross_entropy(logits, Tensor::from({kImages}, classes), 1)}});

  // Each parameter's samples stand for it in the measure of its norm.
  double error = 0;
  double norm = 0;
  for (const autograd::Parameter& parameter : net.parameters().all()) {
    const std::vector<double>& expected = goldens.at(parameter.name);
    const Tensor squares = clone_to(parameter.squares, host());
    double sum = 0;
    for (int64_t i = 0; i < squares.numel(); ++i) sum += std::pow(value_of(squares, i) / kImages, 2);
    EXPECT_TRUE(std::abs(std::sqrt(sum) / expected[0] - 1) <= run.tolerance)
        << parameter.name << ": " << std::sqrt(sum) / expected[0] - 1;
    const auto samples = static_cast<int64_t>(expected.size()) - 1;
    for (int64_t j = 0; j < samples; ++j) {
      const double value = value_of(squares, j * squares.numel() / samples) / kImages;
      error += std::pow((value - expected[static_cast<size_t>(j + 1)]) / expected[0], 2);
      norm += std::pow(expected[static_cast<size_t>(j + 1)] / expected[0], 2);
    }
  }
  EXPECT_GT(norm, 0);
  EXPECT_TRUE(std::sqrt(error / norm) <= run.tolerance) << std::sqrt(error / norm);
  RecordProperty("relative_error", text(std::sqrt(error / norm)));
}

INSTANTIATE_TEST_SUITE_P(Networks, FisherGolden,
                         ::testing::Values(FisherRun{"reference", "basic", DType::kF64, 1e-8},
                                           FisherRun{"reference", "bottleneck", DType::kF64, 1e-8},
                                           FisherRun{"cpu", "basic", DType::kF32, 1e-4},
                                           FisherRun{"cpu", "bottleneck", DType::kF32, 1e-4}),
                         [](const auto& run) { return text(run.param.device, "_", run.param.name); });

}  // namespace
}  // namespace panda::nn
