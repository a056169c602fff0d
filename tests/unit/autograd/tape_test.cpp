// The tape itself: what it keeps, frees, refuses, and how it is planned.
#include "autograd/tape.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/functions/activation.h"
#include "autograd/functions/arithmetic.h"
#include "autograd/functions/conv2d.h"
#include "autograd/functions/loss.h"
#include "autograd/functions/pool2d.h"
#include "kernels/device_registry.h"
#include "kernels/tensor/random.h"

namespace panda::autograd {
namespace {

using kernels::GradientMode;
using kernels::UnaryOp;

class TapeTest : public ::testing::Test {
 protected:
  Tensor values(const Shape& shape, uint64_t seed) {
    Random random(seed);
    Tensor tensor(host(), DType::kF32, shape, "values");
    for (int64_t i = 0; i < shape.numel(); ++i)
      tensor.data<float>()[i] = static_cast<float>(random.next_normal());
    return clone_to(tensor, *device_);
  }
  template <typename Exception, typename Body>
  void expect_error(const std::string& message, Body&& body) {
    try {
      body();
      ADD_FAILURE() << "no error, expected: " << message;
    } catch (const Exception& error) {
      EXPECT_EQ(std::string(error.what()), message);
    }
  }
  std::unique_ptr<Device> device_ = kernels::make_device({"cpu", 2, ""});
  Workspace workspace_{*device_};
};

TEST_F(TapeTest, KeepsNothingOfAFrozenTrunk) {
  const Tensor x = values({1, 16, 8, 8}, 1);
  Tape tape(workspace_);
  Variable y = tape.constant(x);
  for (int i = 0; i < 5; ++i) y = activation(y, UnaryOp::kSigmoid);
  EXPECT_EQ(tape.node_count(), 0);
  EXPECT_EQ(tape.bytes_in_use(), x.bytes());  // the last one alone
  EXPECT_FALSE(y.needs_gradient());
  expect_error<InvalidArgument>("tape: a root depends on nothing that needs a gradient",
                                [&] { tape.backward({{y}}); });
}

TEST_F(TapeTest, FreesWhatIsUndone) {
  const Tensor x = values({64}, 1);
  const Tensor gradient = values({64}, 2);
  Tape tape(workspace_);
  {
    Variable y = tape.input(x, {gradient, GradientMode::kOverwrite});
    for (int i = 0; i < 4; ++i) y = activation(y, UnaryOp::kSigmoid);
    EXPECT_EQ(tape.node_count(), 4);
    EXPECT_EQ(tape.bytes_in_use(), 4 * x.bytes());  // each output is kept
    tape.backward({{y}});
  }
  EXPECT_EQ(tape.bytes_in_use(), 0);
}

TEST_F(TapeTest, GivesItsGradientsOnce) {
  const Tensor x = values({4}, 1);
  const Tensor gradient = values({4}, 2);
  Tape tape(workspace_);
  const Variable y = relu(tape.input(x, {gradient, GradientMode::kOverwrite}));
  tape.backward({{y}});
  expect_error<InvalidArgument>("tape: the backward pass was run before; a tape gives its gradients once",
                                [&] { tape.backward({{y}}); });
  expect_error<InvalidArgument>("tape: activation after the backward pass", [&] { (void)relu(y); });
}

TEST_F(TapeTest, ClearsAGradientThatTheRootsDoNotReach) {
  const Tensor x = values({4}, 1);
  const Tensor used = values({4}, 2);
  const Tensor stale = values({4}, 3);
  const Tensor kept = values({4}, 4);
  const float before = kept.data<float>()[2];
  Tape tape(workspace_);
  const Variable y = relu(tape.input(x, {used, GradientMode::kOverwrite}));
  const Variable unused = relu(tape.input(x, {stale, GradientMode::kOverwrite}));
  const Variable summed = tape.input(x, {kept, GradientMode::kAccumulate});
  tape.backward({{y}});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(stale.data<float>()[i], 0);
  EXPECT_EQ(kept.data<float>()[2], before);
}

TEST_F(TapeTest, AddsRootsByWeight) {
  const Tensor x = values({3, 4}, 1);
  const Tensor center = values({4}, 2);
  const Tensor both = values({3, 4}, 3);
  const Tensor each[] = {values({3, 4}, 4), values({3, 4}, 5)};
  {
    Tape tape(workspace_);
    const Variable v = tape.input(x, {both, GradientMode::kOverwrite});
    tape.backward({{compactness(v, center), 2.0}, {activation(v, UnaryOp::kSigmoid), -1.0}});
  }
  for (int i = 0; i < 2; ++i) {
    Tape tape(workspace_);
    const Variable v = tape.input(x, {each[i], GradientMode::kOverwrite});
    tape.backward({{i == 0 ? compactness(v, center) : activation(v, UnaryOp::kSigmoid)}});
  }
  for (int i = 0; i < 12; ++i)
    EXPECT_NEAR(both.data<float>()[i], 2 * each[0].data<float>()[i] - each[1].data<float>()[i], 1e-5);
}

/// A small network, the same for planning and running.
struct Step {
  const Tensor& x;
  ParameterList& parameters;
  Conv2dCache* caches;
  double loss = 0;
  void operator()(Tape& tape) {
    Variable y = tape.constant(x);
    for (int i = 0; i < 3; ++i) {
      const Variable shortcut = i > 0 ? y : Variable();
      y = conv2d(y, tape.parameter(parameters.at(text("w", i))), {}, shortcut,
                 {{1, 1, 1, 1}, true, &caches[i]});
    }
    const Variable features = global_avg_pool2d(y);
    y = Variable();
    const Variable losses = compactness(features, parameters.at("center").value, 1);
    if (!tape.dry_run()) loss = total(losses);
    tape.backward({{losses}});
  }
};

TEST_F(TapeTest, PlannedStepsTakeTheirPlanAndGiveTheSameBits) {
  const Tensor x = values({2, 32, 9, 9}, 1);
  ParameterList parameters(*device_);
  for (int i = 0; i < 3; ++i)
    parameters.add(text("w", i), values({32, 32, 3, 3}, 10 + static_cast<uint64_t>(i)));
  parameters.add("center", values({32}, 20));
  parameters.set_trainable([](const Parameter& p) { return p.name != "center"; });
  Conv2dCache caches[3];
  Step step{x, parameters, caches};
  {
    Tape tape(workspace_);
    step(tape);
  }
  EXPECT_EQ(workspace_.peak_bytes(), 0);
  const Tensor unplanned = clone_to(parameters.at("w0").gradient, host());
  const double loss = step.loss;

  plan_step(workspace_, [&](Tape& tape) { step(tape); });
  EXPECT_GT(workspace_.peak_bytes(), 3 * x.bytes());
  EXPECT_LT(workspace_.peak_bytes(), 8 * x.bytes());
  for (int run = 0; run < 2; ++run) {
    device_->fill(parameters.at("w0").gradient.raw(), 0xff, parameters.at("w0").gradient.bytes());
    const int64_t held = device_->memory_report().bytes_by_label["training step"];
    EXPECT_EQ(held, run == 0 ? 0 : workspace_.peak_bytes());
    Tape tape(workspace_);
    step(tape);
    EXPECT_EQ(step.loss, loss);
    const Tensor planned = clone_to(parameters.at("w0").gradient, host());
    for (int64_t i = 0; i < planned.numel(); ++i)
      ASSERT_EQ(planned.data<float>()[i], unplanned.data<float>()[i]) << i;
  }

  const Tensor other = values({3, 32, 9, 9}, 1);
  Step larger{other, parameters, caches};
  Tape tape(workspace_);
  const int64_t bytes = x.bytes();
  expect_error<InvalidArgument>(
      text("tape: the step differs from its plan: buffer 0 has ", bytes / 2 * 3, " bytes, planned ", bytes),
      [&] { larger(tape); });
}

TEST_F(TapeTest, PackedFiltersFollowTheirParameters) {
  const Tensor x = values({1, 32, 6, 6}, 1);
  for (const bool trained : {false, true}) {
    SCOPED_TRACE(trained ? "trained" : "frozen");
    ParameterList parameters(*device_);
    Parameter& w = parameters.add("w", values({32, 32, 3, 3}, 2));
    if (trained) parameters.set_trainable([](const Parameter&) { return true; });
    const Tensor gradient = values({1, 32, 6, 6}, 3);
    Conv2dCache cache;
    const auto run = [&](Conv2dCache* kept) {
      Tape tape(workspace_);
      const Variable y = conv2d(tape.input(x, {gradient, GradientMode::kOverwrite}), tape.parameter(w), {},
                                {}, {{1, 1, 1, 1}, false, kept});
      const double first = clone_to(y.view(), host()).data<float>()[0];
      tape.backward({{y}});
      return first + 1000 * double{clone_to(gradient, host()).data<float>()[40]};
    };
    const double before = run(&cache);
    EXPECT_EQ(run(&cache), before);
    EXPECT_EQ(run(nullptr), before);
    const Tensor doubled = clone_to(w.value, host());
    for (int64_t i = 0; i < doubled.numel(); ++i) doubled.data<float>()[i] *= 2;
    copy(doubled, w.value.view());
    w.changed();
    EXPECT_EQ(run(&cache), 2 * before);
  }
}

TEST_F(TapeTest, TrainedFiltersArePackedIntoOneMemoryAndKeptFromTheSecondUseUnchangedOn) {
  const Tensor x = values({2, 32, 9, 9}, 1);
  ParameterList parameters(*device_);
  for (int i = 0; i < 3; ++i)
    parameters.add(text("w", i), values({32, 32, 3, 3}, 10 + static_cast<uint64_t>(i)));
  parameters.add("center", values({32}, 20));
  parameters.set_trainable([](const Parameter& p) { return p.name != "center"; });
  Conv2dCache caches[3];
  Step step{x, parameters, caches};
  std::vector<Tensor> gradients;
  const auto run = [&] {
    Tape tape(workspace_);
    step(tape);
    gradients.push_back(clone_to(parameters.at("w0").gradient, host()));
    return device_->memory_report().bytes_by_label["filter"];
  };
  // Five forms are packed: the first layer's input needs no gradient.
  const int64_t once = run();
  EXPECT_GT(once, 0);
  const int64_t form = once / 2;  // forward and turned are of one size here
  parameters.changed();
  EXPECT_EQ(run(), once);
  EXPECT_EQ(run(), once + 5 * form);
  EXPECT_EQ(run(), once + 5 * form);
  parameters.changed();
  EXPECT_EQ(run(), once);
  for (const Tensor& gradient : gradients) {
    for (int64_t i = 0; i < gradient.numel(); ++i)
      ASSERT_EQ(gradient.data<float>()[i], gradients[0].data<float>()[i]) << i;
  }
}

TEST_F(TapeTest, NamesTheFunctionThatGaveAnInfinity) {
  const Tensor x = values({4}, 1);
  x.data<float>()[2] = INFINITY;
  const Tensor gradient = values({4}, 2);
  Tape tape(workspace_, {.check_finite = true});
  const Variable v = tape.input(x, {gradient, GradientMode::kOverwrite});
  expect_error<InvalidArgument>("tape: output 4 of activation holds inf at element 2",
                                [&] { (void)activation(v, UnaryOp::kExp); });
}

TEST_F(TapeTest, RefusesWhatItCannotMean) {
  ParameterList parameters(*device_);
  Parameter& p = parameters.add("p", values({4}, 1));
  expect_error<InvalidArgument>("parameter list: p is there already",
                                [&] { (void)parameters.add("p", values({4}, 1)); });
  expect_error<InvalidArgument>("parameter list: no parameter q", [&] { (void)parameters.at("q"); });
  Tape tape(workspace_);
  const Variable v = tape.parameter(p);
  EXPECT_FALSE(v.needs_gradient());  // frozen until it is chosen
  expect_error<InvalidArgument>("tape: parameter p is registered already", [&] { (void)tape.parameter(p); });
  expect_error<InvalidArgument>("tape: the tensor is absent", [&] { (void)tape.constant({}); });
}

}  // namespace
}  // namespace panda::autograd
