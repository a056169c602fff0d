#include "nn/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/device_registry.h"
#include "memory_tensors.h"
#include "nn/init.h"

namespace panda::nn {
namespace {

using autograd::Parameter;
using autograd::ParameterList;

class OptimizerTest : public ::testing::Test {
 protected:
  OptimizerTest() {
    const float a[] = {1.0f, -2.0f};
    const float b[] = {0.5f};
    parameters_.add("a", Tensor::from({2}, a));
    parameters_.add("b", Tensor::from({1}, b));
    parameters_.set_trainable([](const Parameter&) { return true; });
  }
  void set_gradients(float a0, float a1, float b0) {
    parameters_.at("a").gradient.data<float>()[0] = a0;
    parameters_.at("a").gradient.data<float>()[1] = a1;
    parameters_.at("b").gradient.data<float>()[0] = b0;
  }
  float value(const char* name, int64_t i) { return parameters_.at(name).value.data<float>()[i]; }

  std::unique_ptr<Device> device_ = kernels::make_device({"cpu", 1, ""});
  ParameterList parameters_{*device_};
};

TEST_F(OptimizerTest, SgdClipsThenDecaysThenTakesMomentum) {
  Sgd sgd(parameters_, {.momentum = 0.9, .decay = 0.1, .max_norm = 1.0});
  set_gradients(2, -1, 2);  // norm 3
  const StepReport report = sgd.step(0.5);
  EXPECT_NEAR(report.gradient_norm, 3, 1e-12);
  const double f = 1 / (3 + 1e-6);
  const double v0 = 2 * f + 0.1 * 1.0;
  EXPECT_NEAR(value("a", 0), 1.0 - 0.5 * v0, 1e-7);
  EXPECT_NEAR(value("b", 0), 0.5 - 0.5 * (2 * f + 0.1 * 0.5), 1e-7);
  const double a0 = value("a", 0);
  set_gradients(0.1f, 0, 0);  // below the clip: unchanged
  (void)sgd.step(0.5);
  EXPECT_NEAR(value("a", 0), a0 - 0.5 * (0.9 * v0 + 0.1 + 0.1 * a0), 1e-7);
  EXPECT_EQ(sgd.steps(), 2);
}

TEST_F(OptimizerTest, PenaltyIsPartOfTheNormThatIsClipped) {
  Sgd sgd(parameters_, {.max_norm = 1.0});
  EwcPenalty penalty{.strength = 2, .anchor = anchor_of(parameters_), .importance = {}};
  const float fisher[] = {3.0f, 0.0f};
  penalty.importance.emplace("a", Tensor::from({2}, fisher));
  parameters_.at("a").value.data<float>()[0] = 2.0f;  // 1 away, importance 3
  parameters_.at("b").value.data<float>()[0] = 1.5f;  // 1 away, importance 1
  sgd.set_penalty(std::move(penalty));
  set_gradients(0, 0, 0);
  const StepReport report = sgd.step(0.1);
  EXPECT_NEAR(report.penalty, 2.0 / 2 * (3 + 1), 1e-12);
  EXPECT_NEAR(report.gradient_norm, std::sqrt(36.0 + 4), 1e-6);
  EXPECT_NEAR(value("a", 0), 2 - 0.1 * 6 / std::sqrt(40.0), 1e-6);
}

TEST_F(OptimizerTest, GoesOnFromAStateWithTheSameBits) {
  Sgd whole(parameters_, {.momentum = 0.9});
  set_gradients(1, 2, 3);
  (void)whole.step(0.1);
  const auto state = whole.state();
  const float a0 = value("a", 0);
  set_gradients(-1, 0.3f, 2);
  (void)whole.step(0.1);
  const float expected = value("a", 0);

  parameters_.at("a").value.data<float>()[0] = a0;
  Sgd resumed(parameters_, {.momentum = 0.9});
  resumed.restore(1, state);
  (void)resumed.step(0.1);
  EXPECT_EQ(value("a", 0), expected);
  EXPECT_EQ(message_of<InvalidArgument>([&] { resumed.restore(1, {}); }),
            "sgd: a state of 0 tensors, expected 2");
}

TEST_F(OptimizerTest, RefusesAGradientThatIsNotFinite) {
  Sgd sgd(parameters_, {.momentum = 0.9});
  set_gradients(1, INFINITY, 3);
  const float before = value("a", 0);
  EXPECT_EQ(message_of<InvalidArgument>([&] { (void)sgd.step(0.1); }),
            "step 1: the gradient of a holds inf at element 1");
  EXPECT_EQ(value("a", 0), before);
  EXPECT_EQ(message_of<InvalidArgument>([&] { sgd.set_penalty({}); }), "ewc: no anchor for a");
}

TEST_F(OptimizerTest, AdamMakesItsFirstStepsByTheRule) {
  Adam adam(parameters_, {});
  set_gradients(0.5f, -3, 1e-3f);
  (void)adam.step(0.1);
  EXPECT_NEAR(value("a", 0), 1.0 - 0.1, 1e-6);  // the first step is the rate in each direction
  EXPECT_NEAR(value("a", 1), -2.0 + 0.1, 1e-6);
  const double a0 = value("a", 0);
  set_gradients(-0.25f, 0, 0);
  (void)adam.step(0.1);
  const double m = (0.9 * 0.1 * 0.5 + 0.1 * -0.25) / (1 - 0.81);
  const double v = (0.999 * 0.001 * 0.25 + 0.001 * 0.0625) / (1 - 0.998001);
  EXPECT_NEAR(value("a", 0), a0 - 0.1 * m / (std::sqrt(v) + 1e-8), 1e-6);
}

TEST(Schedule, FollowsMilestonesAndCosine) {
  EXPECT_EQ(milestone_rate(1.0, 0.5, {10, 20}, 9), 1.0);
  EXPECT_EQ(milestone_rate(1.0, 0.5, {10, 20}, 10), 0.5);
  EXPECT_EQ(milestone_rate(1.0, 0.5, {10, 20}, 25), 0.25);
  EXPECT_EQ(cosine_rate(1.0, 0.0, 0, 100, 10), 0.1);
  EXPECT_EQ(cosine_rate(1.0, 0.0, 10, 100, 10), 1.0);
  EXPECT_NEAR(cosine_rate(1.0, 0.2, 55, 100, 10), 0.6, 1e-12);
  EXPECT_NEAR(cosine_rate(1.0, 0.2, 100, 100, 10), 0.2, 1e-12);
  EXPECT_EQ(message_of<InvalidArgument>([] { (void)cosine_rate(1, 0, 0, 10, 10); }),
            "cosine_rate: 10 steps with 10 of warm-up, expected more");
}

TEST(Initializer, XavierFillsItsInterval) {
  Tensor weight(host(), DType::kF32, {40, 10, 3, 3}, "weight");
  Random random(5);
  fill_xavier_uniform(random, 2.0, weight);
  const double bound = 2 * std::sqrt(6.0 / (50 * 9));
  double largest = 0;
  double squares = 0;
  for (int64_t i = 0; i < weight.numel(); ++i) {
    largest = std::max<double>(largest, std::abs(weight.data<float>()[i]));
    squares += std::pow(weight.data<float>()[i], 2);
  }
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.99 * bound);
  EXPECT_NEAR(squares / static_cast<double>(weight.numel()), bound * bound / 3, 0.05 * bound * bound / 3);
}

}  // namespace
}  // namespace panda::nn
