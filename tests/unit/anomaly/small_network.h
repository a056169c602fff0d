// A network small enough to be trained in a test, and what fits on it share.
#pragma once

#include <cstring>

#include "anomaly/adapted_fit.h"
#include "nn/init.h"
#include "noise_images.h"

namespace panda::anomaly {

/// One basic block per stage.
inline nn::ResnetConfig small_config(double width = 0.125) {
  nn::ResnetConfig config = nn::resnet_config("resnet18", width);
  config.depths = {1, 1, 1, 1};
  config.arch = "resnet";
  config.class_count = 0;
  return config;
}

inline nn::SeededResnetParameters small_weights(double width = 0.125) {
  return nn::SeededResnetParameters(small_config(width), 7, nn::BatchNormInit::kRandomized);
}

/// The middle of a noise image, as it is.
inline data::ImageTransform small_transform() {
  data::ImageTransform transform;
  transform.resize_mode = data::ImageTransform::ResizeMode::kNone;
  transform.crop = 32;
  return transform;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = clone_to(a, host());
  const Tensor y = clone_to(b, host());
  return x.shape() == y.shape() && x.dtype() == y.dtype() &&
         std::memcmp(x.view().raw(), y.view().raw(), static_cast<size_t>(x.bytes())) == 0;
}

}  // namespace panda::anomaly
