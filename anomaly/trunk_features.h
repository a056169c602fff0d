// What the frozen part of a network makes of each image: computed once, kept, and handed to every minibatch.
//
// PANDA trains the last stages of a ResNet whose first ones never move, and augments nothing, so the input of
// the trained part is the same in every epoch. Kept in f32 it is bit for bit what would be computed again;
// f16 halves the room and rounds each value once. Above a budget of memory it lies in a working file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "anomaly/feature_extractor.h"
#include "kernels/tensor/scratch_file.h"
#include "nn/trainable_resnet.h"

namespace panda::anomaly {

enum class TrunkCache : uint8_t {
  kNone,  ///< images are decoded and run through the trunk whenever they are needed
  kF32,
  kF16,
};
/// "none", "f32", "f16": what --trunk-cache takes.
[[nodiscard]] const char* trunk_cache_name(TrunkCache cache);
/// Inverse of trunk_cache_name; throws InvalidArgument.
[[nodiscard]] TrunkCache trunk_cache_from_name(const std::string& name);

struct TrunkCacheOptions {
  TrunkCache precision = TrunkCache::kF32;
  int64_t memory_bytes = int64_t{4} << 30;  ///< what does not fit goes to a working file
  std::string scratch_directory = "/tmp";
};

/// The inputs of a network's trained part: of stage `network.first_trainable_stage()` (0: the images
/// themselves). Network and images must outlive it; the trunk must not change. Use from one thread.
class TrunkFeatures {
 public:
  /// Of all images, in their order. Reports as extract.stage. Throws what loading an image throws, and
  /// InvalidArgument if the network trains no stage or takes other channels than the transform gives.
  TrunkFeatures(nn::TrainableResnet& network, const data::ImageSet& images,
                const data::ImageTransform& transform, const TrunkCacheOptions& options,
                const ExtractOptions& extract, Progress* progress);

  [[nodiscard]] int64_t size() const { return images_->size(); }
  /// The file of an image, fit for a message.
  [[nodiscard]] std::string file(int64_t image) const;
  [[nodiscard]] const data::ImageSet& images() const { return *images_; }
  /// Rows of these images, on the network's device: f32 n,C,H,W in its activation layout (images: dense). The
  /// bits of a row do not depend on the others.
  [[nodiscard]] Tensor rows(const std::vector<int64_t>& images) const;
  /// Whether rows are those of the images, to the last bit.
  [[nodiscard]] bool exact() const { return options_.precision != TrunkCache::kF16; }
  [[nodiscard]] bool on_disk() const { return file_ != nullptr; }
  /// Bytes of all kept rows; 0 for kNone.
  [[nodiscard]] int64_t bytes() const { return item_bytes_ * (kept_ ? size() : 0); }

 private:
  [[nodiscard]] Tensor run_trunk(const ConstTensorView& images) const;
  [[nodiscard]] Tensor computed_rows(const std::vector<int64_t>& images) const;
  void keep(const data::Batch& batch);
  /// Learns from the first rows how large an item is, and where the items go.
  void choose_place(const ConstTensorView& rows);

  nn::TrainableResnet* network_;
  const data::ImageSet* images_;
  data::ImageTransform transform_;
  TrunkCacheOptions options_;
  int decode_threads_;
  int first_stage_;
  bool kept_ = false;
  DType dtype_ = DType::kF32;
  Layout layout_ = Layout::kDense;
  Shape item_;  // 1,C,H,W
  int64_t item_bytes_ = 0;
  Tensor memory_;  // u8, on the host
  std::unique_ptr<ScratchFile> file_;
};

/// The trained part: from rows of TrunkFeatures to pooled features, N,D.
[[nodiscard]] autograd::Variable trained_features(nn::TrainableResnet& network, autograd::Tape& tape,
                                                  autograd::Variable rows);

/// Pooled features of these images as the network is now: f32 n,D, dense, on its device; `batch_size` images
/// at a time. Reports as `stage`. Throws InvalidArgument naming an image whose features are not finite.
[[nodiscard]] Tensor current_features(nn::TrainableResnet& network, const TrunkFeatures& trunk,
                                      const std::vector<int64_t>& images, int64_t batch_size,
                                      const char* stage, Progress* progress);

}  // namespace panda::anomaly
