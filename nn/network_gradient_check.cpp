#include "nn/network_gradient_check.h"

#include <algorithm>
#include <cmath>

#include "autograd/functions/loss.h"
#include "kernels/loss.h"
#include "kernels/tensor/random.h"
#include "nn/init.h"

namespace panda::nn {

namespace {

constexpr double kRelativeStep = 1e-6;
constexpr double kDoubtful = 1e-6;
constexpr int kAttempts = 3;

using autograd::Parameter;
using autograd::Tape;
using autograd::Variable;

/// Normal numbers, exact in f32.
Tensor normal_values(const Shape& shape, uint64_t seed, uint64_t stream, DType dtype) {
  Tensor values(host(), dtype, shape, "values");
  Random random(seed, stream);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const auto value = static_cast<float>(random.next_normal());
    if (dtype == DType::kF64) {
      values.data<double>()[i] = value;
    } else {
      values.data<float>()[i] = value;
    }
  }
  return values;
}

std::vector<double> elements_of(const ConstTensorView& view) {
  const Tensor here = clone_to(view, host());
  std::vector<double> elements(static_cast<size_t>(here.numel()));
  for (int64_t i = 0; i < here.numel(); ++i) {
    elements[static_cast<size_t>(i)] =
        here.dtype() == DType::kF64 ? here.data<double>()[i] : double{here.data<float>()[i]};
  }
  return elements;
}

double norm_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

/// The network with its images and labels on one device, in one dtype.
class Subject {
 public:
  Subject(Device& device, const NetworkGradientOptions& options, DType dtype)
      : net_(device, options.config,
             SeededResnetParameters(options.config, options.seed, BatchNormInit::kRandomized), options.mode,
             dtype),
        images_(clone_to(
            normal_values({options.images, options.config.input_channels, options.extent, options.extent},
                          options.seed, 1, dtype),
            device)) {
    std::vector<int64_t> classes;
    for (int64_t n = 0; n < options.images; ++n) classes.push_back(n % options.config.class_count);
    labels_ = kernels::upload_labels(device, Tensor::from({options.images}, classes.data()),
                                     options.config.class_count);
    net_.train_stages({0, 1, 2, 3, 4}, true);
  }

  [[nodiscard]] autograd::ParameterList& parameters() { return net_.parameters(); }
  double loss() {
    autograd::Workspace workspace(net_.device());
    Tape tape(workspace);
    return total(losses(tape));
  }
  void differentiate() {
    autograd::Workspace workspace(net_.device());
    Tape tape(workspace);
    tape.backward({{losses(tape)}});
  }

 private:
  Variable losses(Tape& tape) {
    const Variable logits = net_.logits(tape, net_.features(tape, tape.constant(images_)));
    return softmax_cross_entropy(logits, labels_, 1.0 / static_cast<double>(images_.shape()[0]));
  }

  TrainableResnet net_;
  Tensor images_;
  Tensor labels_;
};

/// (L(theta + h v) - L(theta - h v)) / 2h. theta is as before afterwards.
double difference_along(Subject& oracle, Parameter& parameter, const std::vector<double>& direction,
                        double h) {
  auto* theta = parameter.value.data<double>();
  const std::vector<double> before(theta, theta + direction.size());
  const auto loss_at = [&](double step) {
    for (size_t i = 0; i < direction.size(); ++i) theta[i] = before[i] + step * direction[i];
    parameter.changed();
    return oracle.loss();
  };
  const double above = loss_at(h);
  const double below = loss_at(-h);
  std::copy(before.begin(), before.end(), theta);
  parameter.changed();
  return (above - below) / (2 * h);
}

}  // namespace

std::vector<ParameterError> check_network_gradient(Device& oracle_device, Device& device,
                                                   const NetworkGradientOptions& options,
                                                   Progress* progress) {
  PANDA_CHECK(options.config.class_count > 0, "check_network_gradient: ", describe(options.config),
              " has no classes");
  Subject oracle(oracle_device, options, DType::kF64);
  Subject subject(device, options, &device == &oracle_device ? DType::kF64 : DType::kF32);
  subject.differentiate();
  std::vector<ParameterError> errors;
  const auto count = static_cast<int64_t>(oracle.parameters().all().size());
  for (Parameter& parameter : oracle.parameters().all()) {
    const std::vector<double> gradient = elements_of(subject.parameters().at(parameter.name).gradient);
    const double norm = norm_of(gradient);
    const double size = norm_of(elements_of(parameter.value));
    double worst = 0;
    for (int64_t index = 0; index < options.directions; ++index) {
      report_progress(progress, "gradients", static_cast<int64_t>(errors.size()) * options.directions + index,
                      count * options.directions);
      const std::vector<double> direction = elements_of(
          normal_values(parameter.value.shape(), options.seed,
                        stream_of_name(parameter.name) + static_cast<uint64_t>(index), DType::kF64));
      double along = 0;
      for (size_t i = 0; i < gradient.size(); ++i) along += gradient[i] * direction[i];
      double error = INFINITY;
      double h = kRelativeStep * size / norm_of(direction);
      for (int attempt = 0; attempt < kAttempts && !(error <= kDoubtful); ++attempt, h /= 10)
        error = std::abs(along - difference_along(oracle, parameter, direction, h)) / norm;
      worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
    }
    errors.push_back({parameter.name, parameter.value.numel(), worst});
  }
  report_progress(progress, "gradients", count * options.directions, count * options.directions);
  return errors;
}

}  // namespace panda::nn
