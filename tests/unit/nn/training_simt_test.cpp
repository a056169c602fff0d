// Training steps of a small ResNet through the CUDA kernels, which the emulator runs, beside the cpu
// device's.
//
// The bound. Each device's gradient of a whole network lies within e = 1e-5 of the exact one, in the 2-norm
// of each parameter (trainable_resnet_test.cpp, against PyTorch in f64), so that two devices' lie within 2 e
// of each other. A step adds rate f g, f the clip factor, whose relative error is that of the norm, e again
// on each side: displacements lie within 4 e of each other, plus one rounding of theta, 2^-24 |theta| a step
// on each side. The second step starts from weights that differ by the first step's errors, which are smaller
// by the rate than what they move.
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/functions/loss.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "nn/init.h"
#include "nn/optimizer.h"
#include "nn/trainable_resnet.h"

namespace panda::nn {
namespace {

constexpr double kGradientError = 1e-5;
constexpr int kSteps = 2;

ResnetConfig small(ResnetBlock block) {
  ResnetConfig config = resnet_config(block == ResnetBlock::kBasic ? "resnet18" : "resnet50", 0.125);
  config.arch = "resnet";
  config.depths = {1, 1, 1, 1};
  config.class_count = 5;
  return config;
}

Tensor noise(const Shape& shape, uint64_t seed) {
  Tensor tensor(host(), DType::kF32, shape, "noise");
  Random random(seed);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data<float>()[i] = static_cast<float>(random.next_normal());
  return tensor;
}

struct Trained {
  std::vector<Tensor> before, after;
  std::vector<StepReport> reports;
};

/// Steps of SGD with penalty, clip, decay and momentum on the sum of both losses.
Trained train(const std::string& device_name, ResnetBlock block, BatchNormMode mode) {
  const auto device = kernels::make_device({device_name, 1, ""});
  const ResnetConfig config = small(block);
  TrainableResnet net(*device, config, SeededResnetParameters(config, 7, BatchNormInit::kRandomized), mode);
  net.train_stages({0, 1, 2, 3, 4}, true);
  const int64_t classes[] = {3, 0};
  const Tensor labels = clone_to(Tensor::from({2}, classes), *device);
  const Tensor center = clone_to(noise({config.feature_channels()}, 2), *device);
  // Batch statistics of few values are badly conditioned: the last stage has 8 a channel at 64 pixels.
  const int64_t extent = mode == BatchNormMode::kBatchStatistics ? 64 : 32;
  const Tensor images = clone_to(noise({2, 3, extent, extent}, 1), *device);
  Trained result;
  for (const autograd::Parameter& parameter : net.parameters().all())
    result.before.push_back(clone_to(parameter.value, host()));
  Sgd sgd(net.parameters(), {0.9, 5e-5, 1e-3});
  EwcPenalty penalty;
  penalty.strength = 10;
  penalty.anchor = anchor_of(net.parameters());
  sgd.set_penalty(std::move(penalty));
  for (int step = 0; step < kSteps; ++step) {
    autograd::Workspace workspace(*device);
    autograd::Tape tape(workspace);
    const autograd::Variable features = net.features(tape, tape.constant(images));
    const autograd::Variable entropy = softmax_cross_entropy(net.logits(tape, features), labels, 0.5);
    const autograd::Variable compact = compactness(features, center, 1e-2);
    tape.backward({{entropy}, {compact}});
    result.reports.push_back(sgd.step(1.0));
  }
  for (const autograd::Parameter& parameter : net.parameters().all())
    result.after.push_back(clone_to(parameter.value, host()));
  return result;
}

double norm_of(const Tensor& a) {
  double squares = 0;
  for (int64_t i = 0; i < a.numel(); ++i) squares += std::pow(double{a.data<float>()[i]}, 2);
  return std::sqrt(squares);
}

/// |a - b| in the 2-norm.
double distance(const Tensor& a, const Tensor& b) {
  double squares = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    squares += std::pow(double{a.data<float>()[i]} - b.data<float>()[i], 2);
  return std::sqrt(squares);
}

void expect_equal_training(ResnetBlock block, BatchNormMode mode) {
  const Trained cpu = train("cpu", block, mode);
  const Trained simt = train("simt", block, mode);
  ASSERT_EQ(cpu.after.size(), simt.after.size());
  for (int step = 0; step < kSteps; ++step) {
    const auto i = static_cast<size_t>(step);
    EXPECT_GT(cpu.reports[i].gradient_norm, 1e-3) << "the clip is not active";
    EXPECT_NEAR(simt.reports[i].gradient_norm / cpu.reports[i].gradient_norm, 1, 2 * kGradientError);
  }
  for (size_t i = 0; i < cpu.after.size(); ++i) {
    const double moved = distance(cpu.after[i], cpu.before[i]);
    EXPECT_GT(moved, 0) << "parameter " << i;
    const double bound = 4 * kGradientError * moved + 2 * kSteps * 0x1p-24 * norm_of(cpu.after[i]);
    EXPECT_TRUE(distance(cpu.after[i], simt.after[i]) <= bound)
        << "parameter " << i << ": " << distance(cpu.after[i], simt.after[i]) << " of " << bound;
  }
}

TEST(TrainingOnSimt, EqualsTheCpuWithFoldedBatchNorms) {
  expect_equal_training(ResnetBlock::kBasic, BatchNormMode::kEvaluation);
}

TEST(TrainingOnSimt, EqualsTheCpuWithBatchStatistics) {
  expect_equal_training(ResnetBlock::kBottleneck, BatchNormMode::kBatchStatistics);
}

}  // namespace
}  // namespace panda::nn
