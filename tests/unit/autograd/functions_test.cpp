// Every function's gradient against f64 central differences on the oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "autograd/functions/activation.h"
#include "autograd/functions/batch_norm.h"
#include "autograd/functions/conv2d.h"
#include "autograd/functions/linear.h"
#include "autograd/functions/loss.h"
#include "autograd/functions/pool2d.h"
#include "autograd/gradient_cases.h"
#include "kernels/device_registry.h"
#include "kernels/loss.h"
#include "kernels/tensor/random.h"

namespace panda::autograd {
namespace {

using kernels::UnaryOp;

Device& oracle() {
  static const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  return *device;
}

TEST(Gradient, OfEveryFunctionIsThatOfDifferencesOnTheOracle) {
  for (const GradientCase& one : gradient_cases()) {
    const GradientCheckResult result = check_gradient(oracle(), oracle(), one);
    ASSERT_EQ(result.relative_errors.size(), one.inputs.size());
    for (size_t i = 0; i < one.inputs.size(); ++i) {
      EXPECT_TRUE(result.relative_errors[i] <= 1e-7)
          << one.function << ", " << one.form << ", input " << i << ": " << result.relative_errors[i];
    }
  }
}

// Sums of at most 800 terms of one size: 800 eps = 5e-5 at worst, sqrt(800) eps = 2e-6 as a rule. A wrong
// coefficient is off by 1e-2.
TEST(Gradient, OfEveryFunctionIsThatOfDifferencesOnTheDevicesInF32) {
  for (const char* name : {"cpu", "simt"}) {
    const auto device = kernels::make_device({name, 2, ""});
    for (const GradientCase& one : gradient_cases()) {
      const GradientCheckResult result = check_gradient(oracle(), *device, one, {.max_elements = 50});
      EXPECT_TRUE(result.worst() <= 5e-6)
          << name << ": " << one.function << ", " << one.form << ": " << result.worst();
    }
  }
}

TEST(Gradient, HasACaseForEveryFunction) {
  const std::vector<std::string> cases = gradient_functions();
  std::vector<std::string> declared;
  for (const auto& file : std::filesystem::directory_iterator(PANDA_SOURCE_DIR "/autograd/functions")) {
    if (file.path().extension() != ".h") continue;
    std::ifstream header(file.path());
    const std::string start = "[[nodiscard]] Variable ";
    for (std::string line; std::getline(header, line);) {
      if (line.rfind(start, 0) == 0)
        declared.push_back(line.substr(start.size(), line.find('(') - start.size()));
    }
  }
  std::vector<std::string> sorted = cases;
  std::sort(sorted.begin(), sorted.end());
  std::sort(declared.begin(), declared.end());
  EXPECT_EQ(sorted, declared);
}

TEST(Gradient, OfFoldedBatchNormEqualsThatOfTheTwoFunctions) {
  const Tensor mean = gradient_values({3}, 5);
  const Tensor variance = gradient_values({3}, 6, true);
  const std::vector<Tensor> inputs = {gradient_values({2, 2, 4, 4}, 1), gradient_values({3, 2, 3, 3}, 2),
                                      gradient_values({3}, 3), gradient_values({3}, 4)};
  const auto gradients = [&](bool folded) {
    std::vector<Tensor> results;
    for (const Tensor& input : inputs) results.emplace_back(host(), DType::kF64, input.shape(), "gradient");
    Workspace workspace(oracle());
    Tape tape(workspace);
    std::vector<Variable> in;
    for (size_t i = 0; i < inputs.size(); ++i)
      in.push_back(tape.input(inputs[i], {results[i], kernels::GradientMode::kOverwrite}));
    const Variable y = folded ? conv2d_batch_norm(in[0], in[1], in[2], in[3], {mean, variance}, {},
                                                  {{1, 1, 1, 1}, true, nullptr})
                              : relu(batch_norm(conv2d(in[0], in[1], {}, {}, {{1, 1, 1, 1}, false, nullptr}),
                                                in[2], in[3], mean, variance));
    tape.backward({{y}});
    return results;
  };
  const std::vector<Tensor> one = gradients(true);
  const std::vector<Tensor> two = gradients(false);
  for (size_t i = 0; i < one.size(); ++i) {
    double largest = 0;
    for (int64_t j = 0; j < one[i].numel(); ++j) {
      EXPECT_NEAR(one[i].data<double>()[j], two[i].data<double>()[j], 1e-12)
          << "input " << i << ", element " << j;
      largest = std::max(largest, std::abs(two[i].data<double>()[j]));
    }
    EXPECT_GT(largest, 0.01);
  }
}

TEST(Gradient, OfLossesAtLargeLogitsIsFinite) {
  const float logits[] = {800, -800, 0, 90};
  const float ones[] = {1, 1, 1, 0};
  const Tensor z = Tensor::from({4}, logits);
  const Tensor t = Tensor::from({4}, ones);
  const Tensor gradient(host(), DType::kF32, {4}, "gradient");
  Workspace workspace(oracle());
  Tape tape(workspace);
  const Variable losses = logistic_loss(tape.input(z, {gradient, kernels::GradientMode::kOverwrite}), t);
  tape.backward({{losses}});
  const float expected[] = {0, -1, -0.5, 1};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(gradient.data<float>()[i], expected[i], 1e-6);
  EXPECT_NEAR(total(losses), 0 + 800 + std::log(2.0) + 90, 1e-4);
}

// A recording may not wait for the host: the labels were checked when they were uploaded.
TEST(CrossEntropy, IsRecordedWithItsGradient) {
  const auto device = kernels::make_device({"simt", 1, ""});
  ASSERT_TRUE(device->records());
  const int64_t classes[] = {2, 0, 3};
  const Tensor labels = kernels::upload_labels(*device, Tensor::from({3}, classes), 4);
  const Tensor logits(*device, DType::kF32, {3, 4}, "logits");
  const Tensor losses(*device, DType::kF32, {3}, "losses");
  const Tensor gradient(*device, DType::kF32, {3, 4}, "gradient");
  const auto set_logits = [&](uint64_t seed) {
    const Tensor wanted = gradient_values({3, 4}, seed);
    const Tensor f32(host(), DType::kF32, {3, 4}, "logits");
    for (int64_t i = 0; i < 12; ++i) f32.data<float>()[i] = static_cast<float>(wanted.data<double>()[i]);
    copy(f32, logits.view());
  };
  const auto work = [&] {
    kernels::softmax_cross_entropy_forward(*device, {logits, labels, 0.1, 1, losses});
    kernels::softmax_cross_entropy_backward(
        *device, {logits, labels, losses, 0.1, 1, {gradient, kernels::GradientMode::kOverwrite}});
  };
  set_logits(1);
  work();
  const auto recording = device->record(work);
  set_logits(2);
  work();
  const Tensor expected_losses = clone_to(losses, host());
  const Tensor expected_gradient = clone_to(gradient, host());
  set_logits(1);
  work();
  set_logits(2);
  recording->replay();
  device->synchronize();
  const Tensor got_losses = clone_to(losses, host());
  const Tensor got_gradient = clone_to(gradient, host());
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(got_losses.data<float>()[i], expected_losses.data<float>()[i]);
  for (int64_t i = 0; i < 12; ++i)
    EXPECT_EQ(got_gradient.data<float>()[i], expected_gradient.data<float>()[i]);
}

TEST(CrossEntropy, RefusesALabelWhenItIsUploaded) {
  const int64_t classes[] = {0, 3, 4, -1};
  const Tensor labels = Tensor::from({4}, classes);
  try {
    (void)kernels::upload_labels(oracle(), labels, 4);
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(), "label 4 in row 2, expected 0 to 3");
  }
  EXPECT_EQ(kernels::upload_labels(oracle(), labels.view().rows(0, 2), 4).numel(), 2);
}

/// A wrong gradient is found: the check itself works.
TEST(Gradient, CheckFindsAWrongGradient) {
  class Wrong final : public Function {
   public:
    explicit Wrong(Variable y) : y_(std::move(y)) {}
    [[nodiscard]] const char* name() const override { return "wrong"; }
    void backward(BackwardContext& context) override {
      context.tape().run(kernels::unary_backward,
                         {UnaryOp::kLeakyRelu, y_.view(), context.dL_dy(), context.gradient(0), 0.31});
    }
    Variable y_;
  };
  const GradientCheckResult result =
      check_gradient(oracle(), {gradient_values({50}, 1)}, [](Tape& tape, const std::vector<Variable>& in) {
        const Variable y = tape.new_value(in[0].shape(), DType::kF64, Layout::kDense);
        tape.run(kernels::unary_forward, {UnaryOp::kLeakyRelu, in[0].view(), y.view(), 0.3});
        tape.record(y, {in[0]}, std::make_unique<Wrong>(y));
        return y;
      });
  EXPECT_GT(result.worst(), 1e-3);
}

/// Squares of per-sample gradients against batches of one.
TEST(Squares, EqualTheSumOverBatchesOfOne) {
  for (const char* name : {"reference", "cpu"}) {
    const auto device = kernels::make_device({name, 2, ""});
    ParameterList parameters(*device);
    const auto f32 = [](const Tensor& from) {
      Tensor to(host(), DType::kF32, from.shape(), "values");
      for (int64_t i = 0; i < from.numel(); ++i)
        to.data<float>()[i] = static_cast<float>(from.data<double>()[i]);
      return to;
    };
    parameters.add("filter", f32(gradient_values({20, 3, 3, 3}, 1)));
    parameters.add("gamma", f32(gradient_values({20}, 2)));
    parameters.add("beta", f32(gradient_values({20}, 3)));
    parameters.add("weight", f32(gradient_values({4, 20}, 4)));
    parameters.add("bias", f32(gradient_values({4}, 5)));
    parameters.set_trainable([](const Parameter&) { return true; });
    const Tensor mean = clone_to(f32(gradient_values({20}, 6)), *device);
    const Tensor variance = clone_to(f32(gradient_values({20}, 7, true)), *device);
    const Tensor images = clone_to(f32(gradient_values({5, 3, 6, 6}, 8)), *device);
    const int64_t classes[] = {0, 3, 1, 1, 2};
    const Tensor labels = clone_to(Tensor::from({5}, classes), *device);
    const auto step = [&](int64_t begin, int64_t end) {
      Workspace workspace(*device);
      Tape tape(workspace);
      const auto p = [&](const char* parameter) { return tape.parameter(parameters.at(parameter)); };
      const Variable x = tape.constant(images.view().rows(begin, end));
      const Variable y = conv2d_batch_norm(x, p("filter"), p("gamma"), p("beta"), {mean, variance}, {},
                                           {{1, 1, 1, 1}, true, nullptr});
      const Variable logits = linear(global_avg_pool2d(y), p("weight"), p("bias"));
      tape.backward({{softmax_cross_entropy(logits, labels.view().rows(begin, end))}});
    };
    std::vector<std::vector<double>> expected(parameters.all().size());
    for (int64_t n = 0; n < 5; ++n) {
      step(n, n + 1);
      for (size_t i = 0; i < expected.size(); ++i) {
        const Tensor g = clone_to(parameters.all()[i].gradient, host());
        expected[i].resize(static_cast<size_t>(g.numel()));
        for (size_t j = 0; j < expected[i].size(); ++j)
          expected[i][j] += double{g.data<float>()[j]} * g.data<float>()[j];
      }
    }
    parameters.set_squares(true);
    step(0, 5);
    for (size_t i = 0; i < expected.size(); ++i) {
      const Tensor squares = clone_to(parameters.all()[i].squares, host());
      double error = 0;
      double norm = 0;
      for (size_t j = 0; j < expected[i].size(); ++j) {
        error += std::pow(squares.data<float>()[j] - expected[i][j], 2);
        norm += expected[i][j] * expected[i][j];
      }
      EXPECT_GT(norm, 0);
      EXPECT_TRUE(std::sqrt(error / norm) <= 1e-5)
          << name << " " << parameters.all()[i].name << " " << std::sqrt(error / norm);
    }
  }
}

}  // namespace
}  // namespace panda::autograd
