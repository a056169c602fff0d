#include "nn/resnet.h"

#include <algorithm>
#include <utility>

#include "nn/fold.h"
#include "nn/parameters.h"

namespace panda::nn {

namespace {

/// Appends layers to a program, loading each one's parameters as it goes.
class Builder {
 public:
  Builder(InferenceProgram& program, const NamedTensors& parameters)
      : program_(program), parameters_(parameters) {}

  struct Convolution {
    std::string conv;  ///< name of the convolution, without ".weight"
    std::string bn;    ///< and of the batch norm after it
    int64_t k = 0;
    int64_t c = 0;
    int64_t extent = 1;  ///< of the filter, in height and width
    int64_t stride = 1;
  };

  ValueId conv(ValueId x, const Convolution& layer, bool relu, std::optional<ValueId> residual = {}) {
    FilterAndBias folded = load_folded(layer, layer.c);
    return append(x, layer, std::move(folded), relu, residual);
  }

  /// The first convolution: its filter is brought from the stored channel count to layer.c.
  ValueId stem(ValueId x, const Convolution& layer, int64_t stored_channels) {
    FilterAndBias folded = load_folded(layer, stored_channels);
    folded.filter = fold_input_channels(folded.filter, layer.c);
    return append(x, layer, std::move(folded), true, {});
  }

  ValueId linear(ValueId x, const std::string& name, int64_t k, int64_t c) {
    Device& device = program_.device();
    Tensor weight = clone_to(load_f32(parameters_, name + ".weight", {k, c}), device, "parameters");
    Tensor bias = clone_to(load_f32(parameters_, name + ".bias", {k}), device, "parameters");
    return program_.linear(x, std::move(weight), std::move(bias));
  }

 private:
  FilterAndBias load_folded(const Convolution& layer, int64_t channels) const {
    const Shape per_channel{layer.k};
    const Tensor filter =
        load_f32(parameters_, layer.conv + ".weight", {layer.k, channels, layer.extent, layer.extent});
    const Tensor gamma = load_f32(parameters_, layer.bn + ".weight", per_channel);
    const Tensor beta = load_f32(parameters_, layer.bn + ".bias", per_channel);
    const Tensor mean = load_f32(parameters_, layer.bn + ".running_mean", per_channel);
    const Tensor variance = load_f32(parameters_, layer.bn + ".running_var", per_channel);
    try {
      return fold_batch_norm(filter, {gamma, beta, mean, variance, kBatchNormEpsilon});
    } catch (const InvalidArgument& error) {
      throw FormatError(parameters_.source(), text(layer.bn, " after ", layer.conv, ": ", error.what()));
    }
  }

  ValueId append(ValueId x, const Convolution& layer, FilterAndBias folded, bool relu,
                 std::optional<ValueId> residual) {
    Device& device = program_.device();
    kernels::Conv2dGeometry geometry;
    geometry.stride_h = geometry.stride_w = layer.stride;
    geometry.pad_h = geometry.pad_w = layer.extent / 2;
    if (!device.host_accessible()) folded.filter = clone_to(folded.filter, device, "filter");
    kernels::Conv2dFilter prepared = kernels::conv2d_prepare_filter(device, folded.filter, geometry);
    return program_.conv2d(x, std::move(prepared), clone_to(folded.bias, device, "parameters"), relu,
                           residual);
  }

  InferenceProgram& program_;
  const NamedTensors& parameters_;
};

/// Channel count that the stored first filter has; `config` asks for config.input_channels.
int64_t stored_input_channels(const NamedTensors& parameters, const ResnetConfig& config) {
  for (const TensorInfo& info : parameters.list()) {
    if (info.name == "conv1.weight" && info.shape.rank() == 4 && info.shape[1] >= 1) return info.shape[1];
  }
  return config.input_channels;  // loading will say what is wrong
}

ValueId append_block(Builder& builder, const ResnetConfig& config, ValueId x, int stage, int64_t index) {
  const std::string block = text("layer", stage + 1, ".", index, ".");
  const int64_t inner = config.inner_channels(stage);
  const int64_t out = config.stage_channels(stage);
  int64_t in = out;
  if (index == 0) in = stage == 0 ? config.stem_channels : config.stage_channels(stage - 1);
  const int64_t stride = stage > 0 && index == 0 ? 2 : 1;
  const bool bottleneck = config.block == ResnetBlock::kBottleneck;
  ValueId y = 0;
  if (bottleneck) {
    y = builder.conv(x, {block + "conv1", block + "bn1", inner, in, 1, 1}, true);
    y = builder.conv(y, {block + "conv2", block + "bn2", inner, inner, 3, stride}, true);
  } else {
    y = builder.conv(x, {block + "conv1", block + "bn1", inner, in, 3, stride}, true);
  }
  // The shortcut comes late: what the first convolutions needed is free again by then.
  ValueId shortcut = x;
  if (config.has_downsample(stage, index)) {
    shortcut = builder.conv(x, {block + "downsample.0", block + "downsample.1", out, in, 1, stride}, false);
  }
  if (bottleneck) return builder.conv(y, {block + "conv3", block + "bn3", out, inner, 1, 1}, true, shortcut);
  return builder.conv(y, {block + "conv2", block + "bn2", out, inner, 3, 1}, true, shortcut);
}

/// The first convolution and the pooling after it.
ValueId append_stem(Builder& builder, InferenceProgram& program, const ResnetConfig& config,
                    const NamedTensors& parameters) {
  const ValueId value = builder.stem(0, {"conv1", "bn1", config.stem_channels, config.input_channels, 7, 2},
                                     stored_input_channels(parameters, config));
  return program.max_pool2d(value, {3, 3, 2, 2, 1, 1});
}

ValueId append_stage(Builder& builder, const ResnetConfig& config, ValueId x, int stage) {
  for (int64_t index = 0; index < config.depths[static_cast<size_t>(stage)]; ++index)
    x = append_block(builder, config, x, stage, index);
  return x;
}

}  // namespace

Resnet::Resnet(Device& device, const ResnetConfig& config, const NamedTensors& parameters)
    : config_(config), program_(device, config.input_channels) {
  Builder builder(program_, parameters);
  ValueId value = stem_value_ = append_stem(builder, program_, config, parameters);
  for (int stage = 0; stage < kResnetStages; ++stage)
    value = stage_values_[static_cast<size_t>(stage)] = append_stage(builder, config, value, stage);
  feature_value_ = program_.global_avg_pool2d(value);
  if (config.class_count > 0) {
    logit_value_ = builder.linear(feature_value_, "fc", config.class_count, config.feature_channels());
  }
}

void Resnet::add_copy(const NamedTensors& parameters, int first_stage) {
  PANDA_CHECK(first_stage >= 0 && first_stage <= kResnetStages + 1, "add_copy: from stage ", first_stage,
              ", expected 0 to ", kResnetStages + 1);
  Builder builder(program_, parameters);
  ValueId value = stem_value_;
  if (first_stage == 0) value = append_stem(builder, program_, config_, parameters);
  if (first_stage > 1) value = stage_values_[static_cast<size_t>(first_stage - 2)];
  for (int stage = std::max(0, first_stage - 1); stage < kResnetStages; ++stage)
    value = append_stage(builder, config_, value, stage);
  copy_features_.push_back(program_.global_avg_pool2d(value));
}

std::vector<Tensor> Resnet::features_of_copies(const ConstTensorView& images) {
  std::vector<ValueId> outputs = {feature_value_};
  outputs.insert(outputs.end(), copy_features_.begin(), copy_features_.end());
  return program_.run(images, outputs);
}

std::vector<ValueId> Resnet::outputs_of(const ResnetRequest& request) const {
  std::vector<ValueId> outputs;
  for (size_t stage = 0; stage < kResnetStages; ++stage) {
    if (request.stages[stage]) outputs.push_back(stage_values_[stage]);
  }
  if (request.features) outputs.push_back(feature_value_);
  if (request.logits) {
    PANDA_CHECK(logit_value_.has_value(), describe(config_),
                ": logits were asked for, but there is no fully connected layer");
    outputs.push_back(*logit_value_);
  }
  PANDA_CHECK(!outputs.empty(), describe(config_), ": no output was asked for");
  return outputs;
}

ResnetResult Resnet::forward(const ConstTensorView& images, const ResnetRequest& request) {
  std::vector<Tensor> tensors = program_.run(images, outputs_of(request));
  ResnetResult result;
  size_t next = 0;
  for (size_t stage = 0; stage < kResnetStages; ++stage) {
    if (request.stages[stage]) result.stages[stage] = std::move(tensors[next++]);
  }
  if (request.features) result.features = std::move(tensors[next++]);
  if (request.logits) result.logits = std::move(tensors[next]);
  return result;
}

Tensor Resnet::features(const ConstTensorView& images) {
  ResnetRequest request;
  request.features = true;
  return forward(images, request).features;
}

ProgramPlan Resnet::plan(int64_t batch, int64_t height, int64_t width, const ResnetRequest& request) const {
  return program_.plan({batch, config_.input_channels, height, width}, outputs_of(request));
}

int64_t Resnet::activation_bytes(int64_t batch, int64_t height, int64_t width,
                                 const ResnetRequest& request) const {
  return plan(batch, height, width, request).peak_bytes();
}

}  // namespace panda::nn
