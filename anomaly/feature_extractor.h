// From images to features: the loop that every fit and every scoring run shares.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "kernels/tensor/progress.h"
#include "nn/resnet.h"

namespace panda::anomaly {

struct ExtractOptions {
  int64_t batch_size = 32;
  /// Threads that decode and transform while the network computes; 0: none beside the caller's.
  int decode_threads = 1;
  /// The stage's name in progress reports.
  const char* stage = "extracting features";
  /// Which images, in which order; empty: all, in order.
  std::vector<int64_t> order = {};
  /// Leave out images that cannot be read (streams of scores only: a fit needs every image), and say why in
  /// `failures` (not owned; may be null).
  bool skip_bad = false;
  std::vector<std::string>* failures = nullptr;
};

/// The configuration of the network without its fully connected layer, for images of so many channels.
[[nodiscard]] nn::ResnetConfig feature_config(const NamedTensors& weights,
                                              const data::ImageTransform& transform);

/// Calls `consume` for each batch that has an image, and reports after it as options.stage. Throws what
/// loading an image throws, unless skip_bad is set.
void for_each_batch(const data::ImageSet& images, const data::ImageTransform& transform,
                    const ExtractOptions& options, Progress* progress,
                    const std::function<void(const data::Batch&)>& consume);

/// Throws InvalidArgument naming the batch's image whose features (f32 N,D) are not finite.
void check_finite(const ConstTensorView& features, const data::Batch& batch, const data::ImageSet& images);

/// Pooled features of every image of the set, in its order: f32 N,D, dense, on the network's device.
///
/// Memory beside the result: one batch's activations, and the loader's few batches of input. Reports after
/// each batch, and may be interrupted there. The bits do not depend on batch size or threads. Throws what
/// loading an image throws, and InvalidArgument naming the image whose features are not finite (weights that
/// do not fit the image's values).
[[nodiscard]] Tensor extract_features(nn::Resnet& network, const data::ImageSet& images,
                                      const data::ImageTransform& transform,
                                      const ExtractOptions& options = {}, Progress* progress = nullptr);

}  // namespace panda::anomaly
