// What a ResNet looks like: its blocks, depths and channel counts, the names and shapes of its parameters,
// and how to read all of that from a weights file.
//
// The networks are torchvision's (He et al., "Deep residual learning for image recognition", CVPR 2016, in
// the "v1.5" form: the stride of a bottleneck block sits in its 3x3 convolution; Zagoruyko and Komodakis,
// "Wide residual networks", BMVC 2016), with torchvision's parameter names.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/tensor/named_tensors.h"

namespace panda::nn {

inline constexpr int kResnetStages = 4;
/// Added to the variance by every batch norm of these networks.
inline constexpr double kBatchNormEpsilon = 1e-5;

enum class ResnetBlock : uint8_t {
  kBasic,       ///< 3x3, 3x3
  kBottleneck,  ///< 1x1, 3x3, 1x1 with four times the channels
};

struct ResnetConfig {
  std::string arch = "resnet18";  ///< one of resnet_architectures(), or "resnet" for other depths
  ResnetBlock block = ResnetBlock::kBasic;
  std::array<int64_t, kResnetStages> depths = {2, 2, 2, 2};  ///< blocks per stage
  /// Channels of a bottleneck's 3x3 per 64 planes: 128 in the wide networks.
  int64_t bottleneck_base_width = 64;
  int64_t stem_channels = 64;  ///< 64 x width factor; every other channel count is a multiple of it
  int64_t input_channels = 3;
  int64_t class_count = 1000;  ///< 0: no fully connected layer

  [[nodiscard]] double width_factor() const { return static_cast<double>(stem_channels) / 64; }
  /// "Planes" of stage 0..3 (layer1..layer4): stem_channels x 2^stage.
  [[nodiscard]] int64_t planes(int stage) const { return stem_channels << stage; }
  /// Channels inside a block of the stage.
  [[nodiscard]] int64_t inner_channels(int stage) const;
  /// Channels that the stage gives.
  [[nodiscard]] int64_t stage_channels(int stage) const;
  /// Channels of the pooled features.
  [[nodiscard]] int64_t feature_channels() const { return stage_channels(kResnetStages - 1); }
  /// True if block `index` of `stage` brings its input to the new channel count or stride with a 1x1
  /// convolution.
  [[nodiscard]] bool has_downsample(int stage, int64_t index) const;
};

/// The seven names, in rising size.
[[nodiscard]] const std::vector<std::string>& resnet_architectures();

/// `width_factor` multiplies every channel count: the stem has 64 x width_factor channels, rounded to the
/// nearest multiple of 8 (halves up) and at least 8; all others keep their ratio to it. Throws
/// InvalidArgument for an unknown name (listing the seven) or a factor outside (0, 16].
[[nodiscard]] ResnetConfig resnet_config(const std::string& arch, double width_factor = 1.0);

/// One convolution filter with the batch norm that follows it, or the fully connected layer.
enum class ParameterKind : uint8_t { kFilter, kGamma, kBeta, kMean, kVariance, kLinearWeight, kLinearBias };

struct ParameterInfo {
  std::string name;
  Shape shape;
  ParameterKind kind = ParameterKind::kFilter;
};

/// Every tensor that the network needs, in the order of computation: "conv1.weight", "bn1.weight", ...,
/// "fc.bias".
[[nodiscard]] std::vector<ParameterInfo> resnet_parameters(const ResnetConfig& config);

/// Where a name of resnet_parameters belongs: 0 for the stem, 1..4 for layer1..layer4, 5 for the fully
/// connected layer.
[[nodiscard]] int resnet_stage_of(const std::string& parameter);

/// Trainable parameters (running means and variances are not counted).
[[nodiscard]] int64_t resnet_parameter_count(const ResnetConfig& config);

/// Reads the configuration from the names and shapes of `tensors`. Every tensor is checked: throws
/// FormatError naming the source, the tensor, its shape and what was expected, if one is missing, has another
/// shape, is no float, or belongs to no ResNet (but for
/// "*.num_batches_tracked", which inference does not use). "fc.weight" and "fc.bias" may be absent together.
[[nodiscard]] ResnetConfig detect_resnet(const NamedTensors& tensors);

/// "resnet18, width 0.5, 1 input channel, 10 classes": for people.
[[nodiscard]] std::string describe(const ResnetConfig& config);

}  // namespace panda::nn
