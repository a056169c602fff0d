// Batches of network input, decoded and transformed ahead of their use by threads of their own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/transforms.h"
#include "kernels/tensor/tensor.h"

namespace panda::data {

struct Batch {
  /// f32 N,C,H,W on the host, dense. The extents are the transform's crop, or those of the one picture.
  Tensor images;
  /// The position in the order of the batch's first image; the first batch begins at 0.
  int64_t first = 0;
  /// For each image of the batch, its index in the image set.
  std::vector<int64_t> indices;
};

struct LoaderOptions {
  /// 1 for a transform without a crop, whose pictures have extents of their own.
  int64_t batch_size = 32;
  /// Threads that decode; 0: none, the caller of `next` decodes.
  int threads = 2;
  /// Batches held ready, beside the one in use. Memory is at most (prefetch + 1) batches and one decoded
  /// image per thread.
  int64_t prefetch = 2;
  /// Leave out images that cannot be read, and collect why, instead of throwing.
  bool skip_bad = false;
  /// Indices into the image set, in the order to load them (a shuffled epoch, a subset); empty: all, in
  /// order.
  std::vector<int64_t> order;
};

struct LoadFailure {
  int64_t index = 0;
  std::string message;
};

/// The batches of an image set, in order. What they hold does not depend on the number of threads. Use from
/// one thread; the image set must outlive the loader. May be destroyed before its end: what is being decoded
/// is finished, nothing more is begun.
class BatchLoader {
 public:
  BatchLoader(const ImageSet& images, const ImageTransform& transform, LoaderOptions options);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;
  ~BatchLoader();

  /// The next batch; nothing when all were given. All but the last have batch_size images (fewer, perhaps
  /// none, with skip_bad). Throws what the first unreadable image of the batch threw; its message names the
  /// file. After that the loader is at its end.
  [[nodiscard]] std::optional<Batch> next();

  /// Images to load in all.
  [[nodiscard]] int64_t size() const;
  /// What was left out so far (skip_bad), in order.
  [[nodiscard]] const std::vector<LoadFailure>& failures() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace panda::data
