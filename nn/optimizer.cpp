#include "nn/optimizer.h"

#include <cmath>
#include <numbers>

#include "kernels/optimizer.h"

namespace panda::nn {

using autograd::Parameter;
using autograd::ParameterList;

namespace {

std::map<std::string, Tensor> zeros_like(ParameterList& parameters, const char* label) {
  std::map<std::string, Tensor> tensors;
  for (const Parameter* parameter : parameters.trainable()) {
    Tensor zeros(parameters.device(), parameter->value.dtype(), parameter->value.shape(), label);
    parameters.device().fill(zeros.view().raw(), 0, zeros.bytes());
    tensors.emplace(parameter->name, std::move(zeros));
  }
  return tensors;
}

/// Element `i` of two f64 values, as a view of shape 1.
TensorView scalar(const Tensor& sums, int64_t i) {
  return sums.view().rows(i, i + 1);
}

void check_like(const char* what, const Parameter& parameter, const Tensor& tensor) {
  PANDA_CHECK(tensor.shape() == parameter.value.shape(), what, " of ", parameter.name, " is ", tensor.shape(),
              ", expected ", parameter.value.shape());
}

/// Names the parameter whose gradient made the norm NaN or infinite.
[[noreturn]] void refuse_gradient(ParameterList& parameters, int64_t step) {
  for (const Parameter* parameter : parameters.trainable()) {
    const Tensor gradient = clone_to(parameter->gradient, host());
    for (int64_t i = 0; i < gradient.numel(); ++i) {
      PANDA_CHECK(std::isfinite(gradient.data<float>()[i]), "step ", step, ": the gradient of ",
                  parameter->name, " holds ", gradient.data<float>()[i], " at element ", i);
    }
  }
  throw InvalidArgument(
      text("step ", step, ": the norm of the gradient is beyond f64, or the penalty is not finite"));
}

/// Sums of the squared norm and the penalty over all gradients, the penalty's part added to them.
void measure_gradients(ParameterList& parameters, const EwcPenalty* penalty, const Tensor& sums) {
  Device& device = parameters.device();
  device.fill(sums.view().raw(), 0, sums.bytes());
  for (const Parameter* parameter : parameters.trainable()) {
    kernels::EwcGradientArgs args;
    args.gradient = parameter->gradient;
    args.squared_norm = scalar(sums, 0);
    if (penalty != nullptr) {
      args.theta = parameter->value;
      args.anchor = penalty->anchor.at(parameter->name);
      const auto importance = penalty->importance.find(parameter->name);
      if (importance != penalty->importance.end()) args.importance = importance->second;
      args.strength = penalty->strength;
      args.penalty = scalar(sums, 1);
    }
    kernels::ewc_gradient(device, args);
  }
}

/// What those sums say at this step.
StepReport read_report(ParameterList& parameters, const Tensor& sums, int64_t step) {
  const Tensor here = clone_to(sums, host());
  const StepReport report{std::sqrt(here.data<double>()[0]), here.data<double>()[1]};
  if (!std::isfinite(report.gradient_norm) || !std::isfinite(report.penalty))
    refuse_gradient(parameters, step);
  return report;
}

}  // namespace

std::map<std::string, Tensor> anchor_of(ParameterList& parameters) {
  std::map<std::string, Tensor> anchor;
  for (const Parameter* parameter : parameters.trainable())
    anchor.emplace(parameter->name, clone_to(parameter->value, parameters.device(), "anchor"));
  return anchor;
}

Sgd::Sgd(ParameterList& parameters, const SgdOptions& options)
    : parameters_(&parameters),
      options_(options),
      velocities_(zeros_like(parameters, "velocities")),
      sums_(parameters.device(), DType::kF64, {2}, "optimizer") {
  PANDA_CHECK(options.max_norm >= 0 && options.momentum >= 0 && options.decay >= 0, "sgd: momentum ",
              options.momentum, ", decay ", options.decay, ", clip ", options.max_norm, ", expected >= 0");
}

void Sgd::set_penalty(EwcPenalty penalty) {
  for (const Parameter* parameter : parameters_->trainable()) {
    const auto anchor = penalty.anchor.find(parameter->name);
    PANDA_CHECK(anchor != penalty.anchor.end(), "ewc: no anchor for ", parameter->name);
    check_like("ewc: anchor", *parameter, anchor->second);
    const auto importance = penalty.importance.find(parameter->name);
    if (importance != penalty.importance.end()) check_like("ewc: importance", *parameter, importance->second);
  }
  penalty_ = std::move(penalty);
  penalized_ = true;
}

StepReport Sgd::step(double rate) {
  measure();
  const StepReport made = report();
  apply(rate);
  advance();
  return made;
}

void Sgd::measure() {
  measure_gradients(*parameters_, penalized_ ? &penalty_ : nullptr, sums_);
}

StepReport Sgd::report() const {
  return read_report(*parameters_, sums_, steps_ + 1);
}

void Sgd::apply(double rate) {
  for (Parameter* parameter : parameters_->trainable()) {
    kernels::SgdUpdateArgs args;
    args.theta = parameter->value;
    args.velocity = velocities_.at(parameter->name);
    args.gradient = parameter->gradient;
    args.rate = rate;
    args.momentum = options_.momentum;
    args.decay = options_.decay;
    args.first_step = steps_ == 0;
    if (options_.max_norm > 0) {
      args.squared_norm = scalar(sums_, 0);
      args.max_norm = options_.max_norm;
    }
    kernels::sgd_update(parameters_->device(), args);
  }
}

void Sgd::advance() {
  parameters_->changed();
  ++steps_;
}

std::map<std::string, Tensor> Sgd::state() const {
  std::map<std::string, Tensor> copies;
  for (const auto& [name, velocity] : velocities_) copies.emplace(name, clone_to(velocity, host()));
  return copies;
}

void Sgd::restore(int64_t steps, const std::map<std::string, Tensor>& state) {
  PANDA_CHECK(state.size() == velocities_.size(), "sgd: a state of ", state.size(), " tensors, expected ",
              velocities_.size());
  for (const Parameter* parameter : parameters_->trainable()) {
    const auto found = state.find(parameter->name);
    PANDA_CHECK(found != state.end(), "sgd: the state has no ", parameter->name);
    check_like("sgd: velocity", *parameter, found->second);
    copy(found->second, velocities_.at(parameter->name).view());
  }
  steps_ = steps;
}

Adam::Adam(ParameterList& parameters, const AdamOptions& options)
    : parameters_(&parameters),
      options_(options),
      first_moments_(zeros_like(parameters, "moments")),
      second_moments_(zeros_like(parameters, "moments")),
      sums_(parameters.device(), DType::kF64, {2}, "optimizer") {}

StepReport Adam::step(double rate) {
  measure_gradients(*parameters_, nullptr, sums_);
  const StepReport report = read_report(*parameters_, sums_, steps_ + 1);
  ++steps_;
  for (Parameter* parameter : parameters_->trainable()) {
    kernels::adam_update(parameters_->device(),
                         {parameter->value, first_moments_.at(parameter->name),
                          second_moments_.at(parameter->name), parameter->gradient, rate, options_.beta1,
                          options_.beta2, options_.epsilon, options_.decay, steps_});
    parameter->changed();
  }
  return report;
}

double milestone_rate(double base, double factor, const std::vector<int64_t>& milestones, int64_t epoch) {
  double rate = base;
  for (const int64_t milestone : milestones) {
    if (epoch >= milestone) rate *= factor;
  }
  return rate;
}

double cosine_rate(double base, double floor, int64_t step, int64_t total, int64_t warm_up) {
  PANDA_CHECK(warm_up >= 0 && total > warm_up, "cosine_rate: ", total, " steps with ", warm_up,
              " of warm-up, expected more");
  if (step < warm_up) return base * static_cast<double>(step + 1) / static_cast<double>(warm_up);
  const double part =
      std::min(1.0, static_cast<double>(step - warm_up) / static_cast<double>(total - warm_up));
  return floor + (base - floor) * (1 + std::cos(std::numbers::pi * part)) / 2;
}

}  // namespace panda::nn
