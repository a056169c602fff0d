#include "tests/conformance/backward.h"

#include <cmath>

namespace panda::test {

namespace {

using kernels::Gradient;
using kernels::GradientMode;

std::vector<Tensor> run_oracle(const Subject& subject, const BackwardCase& one, bool absolute_inputs,
                               GradientMode mode, uint64_t seed) {
  std::vector<Tensor> inputs;
  std::vector<ConstTensorView> views;
  for (const BackwardInput& input : one.inputs) {
    const bool change = absolute_inputs && input.values.dtype() == DType::kF32;
    const Tensor values = rounded(subject, input.values);
    inputs.push_back(change ? absolute(values) : values);
  }
  for (const Tensor& input : inputs) views.push_back(input);
  std::vector<Tensor> outputs;
  std::vector<Gradient> gradients;
  for (const BackwardOutput& output : one.outputs) {
    const Tensor base = make_operand(subject, output.shape, seed);
    outputs.push_back(absolute_inputs ? absolute(base) : base);
    gradients.push_back({outputs.back(), mode});
  }
  one.call(subject.oracle, views, gradients);
  return outputs;
}

std::vector<double> tolerance_of(const BackwardCase& one, const BackwardOutput& output,
                                 const Tensor& magnitudes, const Tensor& expected) {
  std::vector<double> tolerance = sum_tolerance(
      one.sum_of_products ? ConstTensorView(magnitudes) : ConstTensorView(expected), output.terms);
  const double largest = largest_magnitude(tolerance);
  for (double& value : tolerance) {
    value = std::abs(value);
    if (one.spread || !one.sum_of_products) value = largest;
  }
  return tolerance;
}

bool untouched(const GuardedTensor& tensor) {
  for (const double value : elements(tensor.view())) {
    if (!std::isnan(value)) return false;
  }
  return tensor.damage().empty();
}

}  // namespace

void run_backward(const Subject& subject, const BackwardCase& one, Alignment alignment) {
  constexpr uint64_t kBaseSeed = 97;
  const Layout image_layout = one.dense ? Layout::kDense : subject.device.activation_layout();
  std::vector<GuardedTensor> inputs;
  std::vector<ConstTensorView> views;
  for (const BackwardInput& input : one.inputs)
    inputs.push_back(place(subject, rounded(subject, input.values),
                           input.is_image ? image_layout : Layout::kDense, alignment));
  for (const GuardedTensor& input : inputs) views.push_back(input.view());

  const auto compare = [&](GradientMode mode, size_t only, const std::vector<Tensor>& expected,
                           const std::vector<Tensor>& magnitudes) {
    std::vector<GuardedTensor> outputs;
    std::vector<Gradient> gradients;
    for (size_t i = 0; i < one.outputs.size(); ++i) {
      const BackwardOutput& form = one.outputs[i];
      const Layout layout = form.is_image ? image_layout : Layout::kDense;
      const bool wanted = only == one.outputs.size() || only == i;
      const bool filled = wanted && mode == GradientMode::kAccumulate;
      outputs.push_back(filled
                            ? place(subject, make_operand(subject, form.shape, kBaseSeed), layout, alignment)
                            : output(subject, form.shape, layout, alignment));
      gradients.push_back({outputs.back().view(), wanted ? mode : GradientMode::kIgnore});
    }
    one.call(subject.device, views, gradients);
    for (size_t i = 0; i < one.outputs.size(); ++i) {
      SCOPED_TRACE(text("gradient ", i, mode == GradientMode::kAccumulate ? ", accumulate" : ", overwrite",
                        only < one.outputs.size() ? ", alone" : ""));
      if (gradients[i].mode == GradientMode::kIgnore) {
        EXPECT_TRUE(untouched(outputs[i])) << "an ignored gradient was written";
        continue;
      }
      const Layout layout = one.outputs[i].is_image ? image_layout : Layout::kDense;
      expect_matches(outputs[i], expected[i],
                     stored_tolerance(subject, layout, expected[i],
                                      tolerance_of(one, one.outputs[i], magnitudes[i], expected[i])),
                     Zeros::kExpected);
    }
  };
  for (const GradientMode mode : {GradientMode::kOverwrite, GradientMode::kAccumulate}) {
    const std::vector<Tensor> expected = run_oracle(subject, one, false, mode, kBaseSeed);
    const std::vector<Tensor> magnitudes =
        one.sum_of_products ? run_oracle(subject, one, true, mode, kBaseSeed) : expected;
    compare(mode, one.outputs.size(), expected, magnitudes);
    for (size_t only = 0; only < one.outputs.size() && one.outputs.size() > 1; ++only)
      compare(mode, only, expected, magnitudes);
  }
  for (const GuardedTensor& input : inputs) EXPECT_EQ(input.damage(), "");
}

}  // namespace panda::test
