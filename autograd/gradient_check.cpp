#include "autograd/gradient_check.h"

#include <algorithm>
#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/tensor/random.h"

namespace panda::autograd {

using kernels::Gradient;
using kernels::GradientMode;

namespace {

using TapeFunction = std::function<Variable(Tape&, const std::vector<Variable>&)>;

/// Weights of an output's elements, the same for every run; exact in f32.
Tensor weights_of(const Shape& shape, uint64_t seed) {
  Tensor weights(host(), DType::kF64, shape, "weights");
  Random random(seed, 7);
  for (int64_t i = 0; i < weights.numel(); ++i)
    weights.data<double>()[i] = static_cast<float>(random.next_normal());
  return weights;
}

/// f64 as f32; i64 as it is.
Tensor as_f32(const Tensor& values) {
  if (values.dtype() != DType::kF64) return values;
  Tensor result(host(), DType::kF32, values.shape(), "values");
  for (int64_t i = 0; i < values.numel(); ++i)
    result.data<float>()[i] = static_cast<float>(values.data<double>()[i]);
  return result;
}
Tensor as_f64(const Tensor& values) {
  if (values.dtype() != DType::kF32) return values;
  Tensor result(host(), DType::kF64, values.shape(), "values");
  for (int64_t i = 0; i < values.numel(); ++i) result.data<double>()[i] = values.data<float>()[i];
  return result;
}
Tensor rounded(const Tensor& values) {
  return as_f64(as_f32(values));
}

double weighted_sum(const Variable& output, uint64_t seed) {
  const TensorView view = output.view();
  PANDA_CHECK(view.dtype() == DType::kF64 && view.layout() == Layout::kDense,
              "check_gradient: the output is ", view.to_string(), ", expected dense f64");
  const Tensor here = clone_to(view, host());
  const Tensor weights = weights_of(here.shape(), seed);
  double sum = 0;
  for (int64_t i = 0; i < here.numel(); ++i) sum += here.data<double>()[i] * weights.data<double>()[i];
  return sum;
}

double evaluate(Device& device, const std::vector<Tensor>& inputs, const TapeFunction& function,
                uint64_t seed) {
  Workspace workspace(device);
  Tape tape(workspace);
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) variables.push_back(tape.constant(input));
  return weighted_sum(function(tape, variables), seed);
}

/// One pass; inputs for which `wanted` is false take part without a gradient.
void differentiate(Device& device, const std::vector<Tensor>& inputs, const TapeFunction& function,
                   uint64_t seed, const std::vector<Tensor>& gradients, GradientMode mode,
                   const std::vector<bool>& wanted) {
  Workspace workspace(device);
  Tape tape(workspace);
  std::vector<Variable> variables;
  for (size_t i = 0; i < inputs.size(); ++i)
    variables.push_back(tape.input(inputs[i], {gradients[i], wanted[i] ? mode : GradientMode::kIgnore}));
  const Variable output = function(tape, variables);
  const Tensor weights = weights_of(output.shape(), seed);
  tape.backward({{output, 1, weights}});
}

std::vector<Tensor> filled_like(const std::vector<Tensor>& inputs, double value) {
  std::vector<Tensor> tensors;
  for (const Tensor& input : inputs) {
    tensors.emplace_back(host(), DType::kF64, input.shape(), "gradient");
    std::fill_n(tensors.back().data<double>(), input.numel(), value);
  }
  return tensors;
}

/// Twice into 3 everywhere gives 3 + 2 g; an input without a gradient keeps its 3.
void check_modes(Device& device, const std::vector<Tensor>& inputs, const TapeFunction& function,
                 uint64_t seed, const std::vector<Tensor>& gradients) {
  const std::vector<Tensor> sums = filled_like(inputs, 3.0);
  const std::vector<bool> all(inputs.size(), true);
  for (int pass = 0; pass < 2; ++pass)
    differentiate(device, inputs, function, seed, sums, GradientMode::kAccumulate, all);
  const auto verify = [&](size_t i, const Tensor& actual, double factor, const char* what) {
    for (int64_t j = 0; j < actual.numel(); ++j) {
      const double expected = 3 + factor * gradients[i].data<double>()[j];
      const double value = actual.data<double>()[j];
      PANDA_INTERNAL_ASSERT(std::abs(value - expected) <= 1e-12 * (3 + std::abs(expected)), what,
                            " of input ", i, ", element ", j, " is ", value, ", expected ", expected);
    }
  };
  for (size_t i = 0; i < inputs.size(); ++i) verify(i, sums[i], 2, "a gradient accumulated twice");
  for (size_t alone = 0; alone < inputs.size(); ++alone) {
    const std::vector<Tensor> fresh = filled_like(inputs, 3.0);
    std::vector<bool> wanted(inputs.size(), false);
    wanted[alone] = true;
    differentiate(device, inputs, function, seed, fresh, GradientMode::kAccumulate, wanted);
    for (size_t i = 0; i < inputs.size(); ++i)
      verify(i, fresh[i], i == alone ? 1 : 0, i == alone ? "a gradient alone" : "an unwanted gradient");
  }
}

}  // namespace

double GradientCheckResult::worst() const {
  double worst = 0;
  for (const double error : relative_errors) worst = std::max(worst, error);
  return worst;
}

namespace {

/// Errors of `gradients` (f64, host) against differences.
GradientCheckResult compare(Device& oracle, const std::vector<Tensor>& inputs, const TapeFunction& function,
                            const std::vector<Tensor>& gradients, const GradientCheckOptions& options) {
  GradientCheckResult result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t count = inputs[i].numel();
    const int64_t checked = std::min(count, options.max_elements);
    double error = 0;
    double norm = 0;
    for (int64_t j = 0; j < checked; ++j) {
      const int64_t element = j * count / checked;
      std::vector<Tensor> moved = inputs;
      moved[i] = clone_to(inputs[i], host());
      double& x = moved[i].data<double>()[element];
      const double x0 = x;
      x = x0 + options.step;
      const double above = evaluate(oracle, moved, function, options.seed);
      x = x0 - options.step;
      const double below = evaluate(oracle, moved, function, options.seed);
      const double difference = (above - below) / (2 * options.step);
      const double off = gradients[i].data<double>()[element] - difference;
      error += off * off;
      norm += difference * difference;
    }
    const double relative = std::sqrt(error / norm);
    result.relative_errors.push_back(std::isfinite(relative) ? relative : INFINITY);
  }
  return result;
}

/// The case's gradients on `device`, in f32, as f64 on the host.
std::vector<Tensor> gradients_on(Device& device, const GradientCase& one, uint64_t seed) {
  std::vector<Tensor> values;
  std::vector<Tensor> gradients;
  std::vector<Tensor> constants;
  for (const GradientInput& input : one.inputs) {
    const Layout layout = input.is_image ? device.activation_layout() : Layout::kDense;
    values.emplace_back(device, DType::kF32, input.values.shape(), "values", layout);
    gradients.emplace_back(device, DType::kF32, input.values.shape(), "gradient", layout);
    kernels::convert(device, {clone_to(as_f32(input.values), device), values.back()});
  }
  for (const Tensor& constant : one.constants) constants.push_back(clone_to(as_f32(constant), device));
  Workspace workspace(device);
  Tape tape(workspace);
  std::vector<Variable> variables;
  for (size_t i = 0; i < values.size(); ++i)
    variables.push_back(tape.input(values[i], {gradients[i], GradientMode::kOverwrite}));
  const Variable output =
      one.body(tape, variables, std::vector<ConstTensorView>(constants.begin(), constants.end()));
  const Tensor weights = as_f32(weights_of(output.shape(), seed));
  tape.backward({{output, 1, weights}});
  std::vector<Tensor> results;
  for (const Tensor& gradient : gradients) {
    const Tensor dense(device, DType::kF32, gradient.shape(), "gradient");
    kernels::convert(device, {gradient, dense});
    results.push_back(as_f64(clone_to(dense, host())));
  }
  return results;
}

}  // namespace

GradientCheckResult check_gradient(Device& device, const std::vector<Tensor>& inputs,
                                   const TapeFunction& function, const GradientCheckOptions& options) {
  const std::vector<Tensor> gradients = filled_like(inputs, NAN);
  differentiate(device, inputs, function, options.seed, gradients, GradientMode::kOverwrite,
                std::vector<bool>(inputs.size(), true));
  check_modes(device, inputs, function, options.seed, gradients);
  return compare(device, inputs, function, gradients, options);
}

GradientCheckResult check_gradient(Device& oracle, Device& device, const GradientCase& one,
                                   const GradientCheckOptions& options) {
  const bool same = &oracle == &device;
  std::vector<Tensor> inputs;
  std::vector<Tensor> constants;
  for (const GradientInput& input : one.inputs) inputs.push_back(same ? input.values : rounded(input.values));
  for (const Tensor& constant : one.constants) constants.push_back(same ? constant : rounded(constant));
  const std::vector<ConstTensorView> views(constants.begin(), constants.end());
  const TapeFunction function = [&](Tape& tape, const std::vector<Variable>& in) {
    return one.body(tape, in, views);
  };
  if (same) return check_gradient(oracle, inputs, function, options);
  return compare(oracle, inputs, function, gradients_on(device, one, options.seed), options);
}

}  // namespace panda::autograd
