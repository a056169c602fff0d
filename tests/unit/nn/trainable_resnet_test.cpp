// Whole-network gradients against PyTorch in float64 (tests/golden/make_gradient_goldens.py), and the
// trainable network's other promises.
#include "nn/trainable_resnet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "autograd/functions/loss.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"
#include "memory_tensors.h"
#include "nn/init.h"
#include "nn/optimizer.h"
#include "nn/resnet.h"
#include "tests/support/goldens.h"

namespace panda::nn {
namespace {

using autograd::Parameter;
using autograd::Tape;
using autograd::Variable;
using autograd::Workspace;

constexpr uint64_t kSeed = 7;

Tensor images_of(int64_t count, int64_t height, int64_t width, const std::string& stream = "images") {
  Tensor images(host(), DType::kF32, {count, 3, height, width}, "images");
  Random random(kSeed, stream_of_name(stream));
  for (int64_t i = 0; i < images.numel(); ++i)
    images.data<float>()[i] = static_cast<float>(random.next_normal());
  return images;
}

ResnetConfig network(const std::string& name) {
  ResnetConfig config = resnet_config(name == "bottleneck" ? "resnet50" : name);
  if (name == "bottleneck") {
    config.arch = "resnet";
    config.depths = {1, 1, 1, 1};
  }
  config.class_count = 10;
  return config;
}

struct Losses {
  Tensor labels;
  Tensor center;
  Losses(Device& device, int64_t features) {
    const int64_t classes[] = {3, 0, 9, 4};
    labels = clone_to(Tensor::from({4}, classes), device);
    Tensor values(host(), DType::kF32, {features}, "center");
    for (int64_t i = 0; i < features; ++i) values.data<float>()[i] = 0.1f;
    center = clone_to(values, device);
  }
};

/// The goldens' loss of 4 images and its gradients.
double run_step(TrainableResnet& net, Tape& tape, const Tensor& images, const Losses& losses) {
  const Variable features = net.features(tape, tape.constant(images));
  const Variable entropy = softmax_cross_entropy(net.logits(tape, features), losses.labels, 0.25);
  const Variable compact =
      compactness(features, losses.center, 1.0 / static_cast<double>(features.shape().numel()));
  const double loss = tape.dry_run() ? 0.0 : total(entropy) + total(compact);
  tape.backward({{entropy}, {compact}});
  return loss;
}

/// 2-norm and samples, as the goldens have them.
std::vector<double> summary(const Tensor& on_device, size_t samples) {
  const Tensor tensor = clone_to(on_device, host());
  double squares = 0;
  for (int64_t i = 0; i < tensor.numel(); ++i) squares += std::pow(tensor.data<float>()[i], 2);
  std::vector<double> values = {std::sqrt(squares)};
  for (size_t j = 0; j < samples; ++j)
    values.push_back(
        tensor.data<float>()[static_cast<int64_t>(j) * tensor.numel() / static_cast<int64_t>(samples)]);
  return values;
}

struct GoldenRun {
  const char* device;
  const char* name;
  const char* mode;
};
class GradientGolden : public ::testing::TestWithParam<GoldenRun> {};

TEST_P(GradientGolden, MatchesPyTorch) {
  const GoldenRun& run = GetParam();
  const test::Goldens goldens = test::read_goldens("gradient_goldens.txt", text(run.name, "/", run.mode));
  ASSERT_FALSE(goldens.empty());
  const auto device = kernels::make_device({run.device, 0, ""});
  const ResnetConfig config = network(run.name);
  const bool statistics = std::string(run.mode) == "statistics";
  TrainableResnet net(*device, config, SeededResnetParameters(config, kSeed, BatchNormInit::kRandomized),
                      statistics ? BatchNormMode::kBatchStatistics : BatchNormMode::kEvaluation);
  net.train_stages({0, 1, 2, 3, 4}, true);
  EXPECT_EQ(net.parameters().trainable_numel(), resnet_parameter_count(config));
  Workspace workspace(*device);
  Tape tape(workspace);
  const Losses losses(*device, config.feature_channels());
  const double loss =
      run_step(net, tape, images_of(4, 64, 48, text("images", goldens.at("stream")[0])), losses);
  EXPECT_NEAR(loss / goldens.at("loss")[0], 1, 1e-6);

  // Relative error of the whole gradient: each parameter's samples stand for it in the measure of its norm.
  double worst_norm = 0;
  double error = 0;
  double norm = 0;
  for (const Parameter& parameter : net.parameters().all()) {
    const std::vector<double>& expected = goldens.at(parameter.name);
    const Tensor gradient = clone_to(parameter.gradient, host());
    const std::vector<double> actual = summary(gradient, expected.size() - 1);
    worst_norm = std::max(worst_norm, std::abs(actual[0] / expected[0] - 1));
    for (size_t j = 1; j < expected.size(); ++j) {
      error += std::pow((actual[j] - expected[j]) / expected[0], 2);
      norm += std::pow(expected[j] / expected[0], 2);
    }
  }
  EXPECT_GT(norm, 0);
  EXPECT_TRUE(std::sqrt(error / norm) <= 1e-5) << "samples: " << std::sqrt(error / norm);
  EXPECT_TRUE(worst_norm <= 1e-5) << "norms: " << worst_norm;
  RecordProperty("relative_error", text(std::sqrt(error / norm)));
  if (!statistics) return;
  for (const TensorInfo& info : net.list()) {
    if (info.name.find("running_") == std::string::npos) continue;
    const std::vector<double>& expected = goldens.at(info.name);
    const std::vector<double> actual = summary(net.load(info.name), expected.size() - 1);
    for (size_t j = 0; j < expected.size(); ++j)
      EXPECT_NEAR(actual[j], expected[j], 1e-5 * expected[0]) << info.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, GradientGolden,
                         ::testing::Values(GoldenRun{"reference", "resnet18", "evaluation"},
                                           GoldenRun{"cpu", "resnet18", "evaluation"},
                                           GoldenRun{"cpu", "resnet18", "statistics"},
                                           GoldenRun{"cpu", "bottleneck", "evaluation"},
                                           GoldenRun{"cpu", "bottleneck", "statistics"}),
                         [](const auto& tested) {
                           return text(tested.param.device, "_", tested.param.name, "_", tested.param.mode);
                         });

class TrainableResnetTest : public ::testing::Test {
 protected:
  static ResnetConfig small() {
    ResnetConfig config = resnet_config("resnet18", 0.25);
    config.depths = {1, 1, 1, 1};
    config.class_count = 10;
    config.arch = "resnet";
    return config;
  }
  static bool same_bits(const Tensor& a, const Tensor& b) {
    const Tensor x = clone_to(a, host());
    const Tensor y = clone_to(b, host());
    return std::memcmp(x.data<float>(), y.data<float>(), static_cast<size_t>(x.bytes())) == 0;
  }
};

TEST_F(TrainableResnetTest, GivesTheFeaturesOfTheInferenceNetwork) {
  const auto device = kernels::make_device({"cpu", 2, ""});
  const SeededResnetParameters parameters(small(), kSeed, BatchNormInit::kRandomized);
  TrainableResnet net(*device, small(), parameters, BatchNormMode::kEvaluation);
  Resnet inference(*device, small(), parameters);
  const Tensor images = images_of(2, 40, 40);
  const Tensor expected = inference.features(images);
  Workspace workspace(*device);
  Tape tape(workspace);
  const Variable features = net.features(tape, tape.constant(images));
  EXPECT_EQ(tape.node_count(), 0);
  EXPECT_TRUE(same_bits(clone_to(features.view(), host()), expected));
}

TEST_F(TrainableResnetTest, TrainsTheChosenStagesAndNothingElse) {
  const auto device = kernels::make_device({"cpu", 2, ""});
  TrainableResnet net(*device, small(), SeededResnetParameters(small(), kSeed, BatchNormInit::kRandomized),
                      BatchNormMode::kEvaluation);
  net.train_stages({3, 4}, false);
  EXPECT_EQ(net.first_trainable_stage(), 3);
  for (const Parameter& parameter : net.parameters().all()) {
    const bool expected = parameter.name.rfind("layer3.", 0) == 0 || parameter.name.rfind("layer4.", 0) == 0;
    EXPECT_EQ(parameter.trainable, expected) << parameter.name;
  }
  EXPECT_THROW(net.train_stages({5}, false), InvalidArgument);
  const MemoryTensors before(net);
  Sgd sgd(net.parameters(), {.momentum = 0.9, .decay = 1e-3, .max_norm = 0.5});
  const Losses losses(*device, small().feature_channels());
  const Tensor images = images_of(4, 40, 40);
  for (int i = 0; i < 3; ++i) {
    Workspace workspace(*device);
    Tape tape(workspace);
    const Variable features = net.features(tape, tape.constant(images));
    tape.backward({{compactness(features, losses.center, 0.01)}});
    EXPECT_EQ(tape.node_count(), 2 * 3 + 2);  // two blocks of three convolutions, pooling, loss
    (void)sgd.step(0.1);
  }
  int changed = 0;
  for (const TensorInfo& info : before.list()) {
    const bool trained = (info.name.rfind("layer3.", 0) == 0 || info.name.rfind("layer4.", 0) == 0) &&
                         info.name.find("running_") == std::string::npos;
    EXPECT_EQ(!same_bits(before.at(info.name), net.load(info.name)), trained) << info.name;
    changed += trained ? 1 : 0;
  }
  EXPECT_EQ(changed, 18);
}

TEST_F(TrainableResnetTest, GivesTheSameBitsForAnyThreadCountAndPlan) {
  std::vector<std::vector<Tensor>> weights;
  for (const int threads : {1, 2, 4}) {
    const auto device = kernels::make_device({"cpu", threads, ""});
    for (const BatchNormMode mode : {BatchNormMode::kEvaluation, BatchNormMode::kBatchStatistics}) {
      TrainableResnet net(*device, small(),
                          SeededResnetParameters(small(), kSeed, BatchNormInit::kRandomized), mode);
      net.train_stages({1, 2, 3, 4}, true);
      Sgd sgd(net.parameters(), {.momentum = 0.9, .decay = 1e-3, .max_norm = 0.5});
      sgd.set_penalty({.strength = 0.1, .anchor = anchor_of(net.parameters()), .importance = {}});
      const Losses losses(*device, small().feature_channels());
      const Tensor images = images_of(4, 40, 40);
      Workspace workspace(*device);
      if (threads == 2) plan_step(workspace, [&](Tape& tape) { (void)run_step(net, tape, images, losses); });
      for (int i = 0; i < 2; ++i) {
        Tape tape(workspace);
        (void)run_step(net, tape, images, losses);
        (void)sgd.step(0.05);
      }
      std::vector<Tensor> result;
      for (const TensorInfo& info : net.list()) result.push_back(net.load(info.name));
      weights.push_back(std::move(result));
    }
  }
  for (size_t run = 2; run < weights.size(); ++run) {
    for (size_t i = 0; i < weights[run].size(); ++i)
      EXPECT_TRUE(same_bits(weights[run][i], weights[run % 2][i])) << "run " << run << ", tensor " << i;
  }
}

TEST_F(TrainableResnetTest, OverfitsFourImages) {
  const auto device = kernels::make_device({"cpu", 2, ""});
  TrainableResnet net(*device, small(), SeededResnetParameters(small(), 3), BatchNormMode::kBatchStatistics);
  net.train_stages({0, 1, 2, 3, 4}, true);
  Adam adam(net.parameters(), {});
  const Losses losses(*device, small().feature_channels());
  const Tensor images = images_of(4, 40, 40);
  double first = 0;
  double last = 0;
  for (int i = 0; i < 25; ++i) {
    Workspace workspace(*device);
    Tape tape(workspace);
    const Variable entropy = softmax_cross_entropy(
        net.logits(tape, net.features(tape, tape.constant(images))), losses.labels, 0.25);
    last = total(entropy);
    if (i == 0) first = last;
    tape.backward({{entropy}});
    (void)adam.step(3e-3);
  }
  EXPECT_GT(first, 1.5);
  EXPECT_LT(last, 0.1);
}

}  // namespace
}  // namespace panda::nn
