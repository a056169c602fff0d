// Supervised training of a ResNet from scratch: the pretraining that PANDA starts from.
//
// SGD with momentum and decay on softmax cross-entropy with smoothed labels, batch norms by batch statistics,
// learning rate with linear warm-up and half a cosine (Loshchilov and Hutter, "SGDR", ICLR 2017), random
// resized crops and flips. A step takes a whole batch: what remains of an epoch's shuffled images is left
// out.
//
// Deterministic: every random number depends on (seed, epoch, image) alone, so the same data and options give
// the same bits for any number of threads, and after a resumption.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/labelled_data.h"
#include "anomaly/training_checkpoint.h"
#include "autograd/workspace.h"
#include "data/augment.h"
#include "kernels/tensor/progress.h"
#include "nn/optimizer.h"
#include "nn/trainable_resnet.h"
#include "weights/safetensors.h"

namespace panda::anomaly {

struct ClassifierOptions {
  int64_t epochs = 30;
  int64_t batch_size = 128;
  data::CropAugmentation augmentation;
  double rate = 0.1;  ///< the largest of the schedule, which ends at 0
  double warm_up_epochs = 1;
  double momentum = 0.9;
  double decay = 5e-4;
  double smoothing = 0.1;
  uint64_t seed = 0;
};

struct EpochReport {
  int64_t epoch = 0;           ///< from 1
  double rate = 0;             ///< of its last step
  double loss = 0;             ///< mean over its steps
  double gradient_norm = 0;    ///< mean over its steps
  std::optional<double> top1;  ///< share of validation images classified right
};
/// A heading and a line per epoch.
[[nodiscard]] std::string epochs_csv(const std::vector<EpochReport>& epochs);

/// Share of images whose largest logit (the first of equal ones) is their class's. The image's short side
/// becomes `size`, and its central square is taken.
[[nodiscard]] double top1_of(Device& device, const NamedTensors& weights, const data::ImageSet& images,
                             int64_t size, Progress* progress);

class ClassifierTraining {
 public:
  /// `data` must outlive it. `start` gives the first parameters. Throws InvalidArgument for a batch larger
  /// than the training set or fewer than two images in it, and for options out of range.
  ClassifierTraining(Device& device, const nn::ResnetConfig& config, const NamedTensors& start,
                     const LabelledData& data, const ClassifierOptions& options);

  /// One epoch, then its evaluation. Throws InvalidArgument naming step and images where the loss or a
  /// gradient is not finite; Interrupted.
  const EpochReport& run_epoch(Progress* progress);
  [[nodiscard]] bool finished() const { return static_cast<int64_t>(epochs_.size()) == options_.epochs; }
  [[nodiscard]] const std::vector<EpochReport>& epochs() const { return epochs_; }
  [[nodiscard]] nn::TrainableResnet& network() { return net_; }
  [[nodiscard]] int64_t steps_per_epoch() const { return data_.train->size() / options_.batch_size; }

  /// What the result depends on beside the images, as text.
  [[nodiscard]] weights::Metadata fields() const;
  // For anomaly/training_checkpoint.h: steps made, and everything that a further one depends on.
  [[nodiscard]] int64_t steps() const { return sgd_->steps(); }
  [[nodiscard]] TrainingState state() const;
  /// Throws InvalidArgument for another set of tensors, or steps that end no epoch.
  void restore(int64_t steps, const TrainingState& state);

 private:
  [[nodiscard]] Tensor load_batch(int64_t epoch, const std::vector<int64_t>& indices) const;
  double run_step(const std::vector<int64_t>& indices, const Tensor& images);
  [[nodiscard]] std::string batch_text(const std::vector<int64_t>& indices) const;

  Device& device_;
  const LabelledData& data_;
  ClassifierOptions options_;
  nn::TrainableResnet net_;
  std::optional<nn::Sgd> sgd_;
  autograd::Workspace workspace_;
  std::vector<EpochReport> epochs_;
};

/// The network as it is, for a weights file: every tensor as `dtype` (f32 or f16), with torchvision's names.
void write_network(const std::string& path, const NamedTensors& network, DType dtype,
                   const weights::Metadata& metadata);

}  // namespace panda::anomaly
