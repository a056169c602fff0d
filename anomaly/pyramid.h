// Features of pixels: the outputs of a ResNet's stages, as rows of one vector per grid point.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/resnet.h"

namespace panda::anomaly {

/// One grid of feature vectors.
struct PyramidLevel {
  int64_t layer = 1;  ///< layer1..layer4 of the network; of a concatenation, its first
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  [[nodiscard]] int64_t pixels() const { return height * width; }
  friend bool operator==(const PyramidLevel&, const PyramidLevel&) = default;
};

struct PyramidOptions {
  std::vector<int64_t> layers = {1, 2, 3};  ///< rising, each 1..4
  /// One level whose vectors are those of all layers after one another; coarser layers are interpolated
  /// (bilinear, half-pixel centers) to the first layer's grid. Else: a level per layer.
  bool concatenate = false;

  /// Throws InvalidArgument.
  void check() const;
};

/// The levels of images of this size.
[[nodiscard]] std::vector<PyramidLevel> pyramid_levels(const nn::ResnetConfig& network,
                                                       const PyramidOptions& options, int64_t height,
                                                       int64_t width);

struct PyramidFeatures {
  std::vector<Tensor> levels;  ///< f32 N * pixels, channels, dense, on the host
  Tensor pooled;               ///< f32 N,D on the network's device; absent unless asked for
};

/// images: f32 N,C,H,W as nn::Resnet::forward takes them. The bits do not depend on the batch.
[[nodiscard]] PyramidFeatures extract_pyramid(nn::Resnet& network, const ConstTensorView& images,
                                              const PyramidOptions& options, bool pooled);

}  // namespace panda::anomaly
