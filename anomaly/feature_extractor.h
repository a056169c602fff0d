// From images to features: the loop that every fit and every scoring run shares.
#pragma once

#include <cstdint>

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
};

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
