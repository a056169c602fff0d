#include "nn/trainable_resnet.h"

#include <algorithm>

#include "autograd/functions/activation.h"
#include "autograd/functions/arithmetic.h"
#include "autograd/functions/batch_norm.h"
#include "autograd/functions/linear.h"
#include "autograd/functions/pool2d.h"
#include "nn/parameters.h"

namespace panda::nn {

using autograd::Parameter;
using autograd::Tape;
using autograd::Variable;

namespace {

/// f32 as f64.
Tensor widened(const Tensor& values) {
  Tensor result(host(), DType::kF64, values.shape(), "parameters");
  for (int64_t i = 0; i < values.numel(); ++i) result.data<double>()[i] = values.data<float>()[i];
  return result;
}

}  // namespace

TrainableResnet::TrainableResnet(Device& device, const ResnetConfig& config, const NamedTensors& tensors,
                                 BatchNormMode mode, DType dtype)
    : config_(config), mode_(mode), parameters_(device) {
  for (const ParameterInfo& info : resnet_parameters(config)) {
    Tensor value = load_f32(tensors, info.name, info.shape);
    if (info.kind == ParameterKind::kVariance) {
      for (int64_t i = 0; i < value.numel(); ++i) {
        if (value.data<float>()[i] < 0) {
          throw FormatError(tensors.source(), text(info.name, " holds ", value.data<float>()[i],
                                                   " at element ", i, ", expected no negative variance"));
        }
      }
    }
    if (dtype == DType::kF64) value = widened(value);
    if (info.kind == ParameterKind::kMean || info.kind == ParameterKind::kVariance) {
      statistics_.emplace(info.name, clone_to(value, device, "parameters"));
    } else {
      parameters_.add(info.name, value);
    }
  }
}

void TrainableResnet::train_stages(const std::vector<int>& stages, bool head) {
  for (const int stage : stages)
    PANDA_CHECK(stage >= 0 && stage <= kResnetStages, "train_stages: stage ", stage, ", expected 0 to ",
                kResnetStages);
  parameters_.set_trainable([&](const Parameter& parameter) {
    const int stage = resnet_stage_of(parameter.name);
    return stage > kResnetStages ? head : std::find(stages.begin(), stages.end(), stage) != stages.end();
  });
}

int TrainableResnet::first_trainable_stage() const {
  int first = kResnetStages + 1;
  for (const Parameter& parameter : parameters_.all()) {
    if (parameter.trainable) first = std::min(first, resnet_stage_of(parameter.name));
  }
  return first;
}

Variable TrainableResnet::convolution(Tape& tape, const Variable& x, const Convolution& layer, bool relu,
                                      const Variable& residual) {
  const Variable filter = tape.parameter(parameters_.at(layer.conv + ".weight"));
  const Variable gamma = tape.parameter(parameters_.at(layer.bn + ".weight"));
  const Variable beta = tape.parameter(parameters_.at(layer.bn + ".bias"));
  const Tensor& mean = statistics_.at(layer.bn + ".running_mean");
  const Tensor& variance = statistics_.at(layer.bn + ".running_var");
  const int64_t pad = layer.extent / 2;
  autograd::Conv2dOptions options{{layer.stride, layer.stride, pad, pad}, relu, &caches_[layer.conv]};
  if (mode_ == BatchNormMode::kEvaluation)
    return conv2d_batch_norm(x, filter, gamma, beta, {mean, variance, kBatchNormEpsilon}, residual, options);
  options.relu = false;
  Variable y = conv2d(x, filter, {}, {}, options);
  y = batch_norm_training(y, gamma, beta, {mean.view(), variance.view()}, kBatchNormEpsilon);
  if (residual.present()) y = add(y, residual);
  return relu ? autograd::relu(y) : y;
}

Variable TrainableResnet::stem(Tape& tape, const Variable& images) {
  const Variable x = convolution(tape, images, {"conv1", "bn1", 7, 2}, true, {});
  return max_pool2d(x, {3, 3, 2, 2, 1, 1});
}

Variable TrainableResnet::block(Tape& tape, Variable x, int stage, int64_t index) {
  const std::string name = text("layer", stage + 1, ".", index, ".");
  const int64_t stride = stage > 0 && index == 0 ? 2 : 1;
  const bool bottleneck = config_.block == ResnetBlock::kBottleneck;
  Variable y;
  if (bottleneck) {
    y = convolution(tape, x, {name + "conv1", name + "bn1", 1, 1}, true, {});
    y = convolution(tape, y, {name + "conv2", name + "bn2", 3, stride}, true, {});
  } else {
    y = convolution(tape, x, {name + "conv1", name + "bn1", 3, stride}, true, {});
  }
  if (config_.has_downsample(stage, index))
    x = convolution(tape, x, {name + "downsample.0", name + "downsample.1", 1, stride}, false, {});
  if (bottleneck) return convolution(tape, y, {name + "conv3", name + "bn3", 1, 1}, true, x);
  return convolution(tape, y, {name + "conv2", name + "bn2", 3, 1}, true, x);
}

Variable TrainableResnet::stages(Tape& tape, Variable x, int first, int last) {
  PANDA_CHECK(first >= 1 && last <= kResnetStages, "stages: ", first, " to ", last, ", expected 1 to ",
              kResnetStages);
  for (int stage = first - 1; stage < last; ++stage) {
    for (int64_t index = 0; index < config_.depths[static_cast<size_t>(stage)]; ++index)
      x = block(tape, std::move(x), stage, index);
  }
  return x;
}

Variable TrainableResnet::pooled(const Variable& x) {
  return global_avg_pool2d(x);
}

Variable TrainableResnet::logits(Tape& tape, const Variable& features) {
  PANDA_CHECK(config_.class_count > 0, describe(config_),
              ": logits were asked for, but there is no fully connected layer");
  return linear(features, tape.parameter(parameters_.at("fc.weight")),
                tape.parameter(parameters_.at("fc.bias")));
}

Variable TrainableResnet::features(Tape& tape, const Variable& images) {
  return pooled(stages(tape, stem(tape, images), 1, kResnetStages));
}

std::vector<TensorInfo> TrainableResnet::list() const {
  std::vector<TensorInfo> infos;
  for (const Parameter& parameter : parameters_.all())
    infos.push_back({parameter.name, parameter.value.dtype(), parameter.value.shape()});
  for (const auto& [name, tensor] : statistics_) infos.push_back({name, tensor.dtype(), tensor.shape()});
  std::sort(infos.begin(), infos.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return infos;
}

bool TrainableResnet::contains(const std::string& name) const {
  if (statistics_.count(name) != 0) return true;
  const auto& all = parameters_.all();
  return std::any_of(all.begin(), all.end(),
                     [&](const Parameter& parameter) { return parameter.name == name; });
}

Tensor TrainableResnet::load(const std::string& name) const {
  if (const auto found = statistics_.find(name); found != statistics_.end())
    return clone_to(found->second, host());
  for (const Parameter& parameter : parameters_.all()) {
    if (parameter.name == name) return clone_to(parameter.value, host());
  }
  throw InvalidArgument(text(source(), ": no tensor ", printable(name)));
}

}  // namespace panda::nn
