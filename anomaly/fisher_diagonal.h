// The Fisher diagonal of a pretrained classifier: how much each parameter matters to its loss (paper Eq. 3,
// which EWC weighs its penalty by).
//
// With L the cross-entropy (without scale or smoothing) and batch norms in evaluation mode, F of a parameter
// is
//   per sample:  1/n sum over n samples of (dL(x_i, y_i)/dtheta)^2   (Eq. 3)
//   per batch:   1/b sum over b batches of (d mean-of-the-batch L/dtheta)^2   (what many codes compute; about
//   a
//                batch size smaller)
//   uniform:     1   (Sec. 4.3.2)
// y is the image's class, or is drawn from the network's own distribution (the Fisher information proper).
// The paper does not say which. Squares of one batch are summed in f32, batches in f64.
//
// Deterministic: images and drawn labels depend on the seed and the position alone; same bits for any number
// of threads and after a resumption.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "anomaly/labelled_data.h"
#include "anomaly/training_checkpoint.h"
#include "autograd/workspace.h"
#include "data/transforms.h"
#include "nn/trainable_resnet.h"
#include "weights/safetensors.h"

namespace panda::anomaly {

inline constexpr const char* kFisherFormat = "panda-fisher-diagonal";

enum class FisherDefinition : uint8_t { kPerSample, kPerBatch, kUniform };
enum class FisherLabels : uint8_t { kTrue, kSampled };
/// "per-sample", "per-batch", "uniform"; "true", "sampled".
[[nodiscard]] const char* fisher_definition_name(FisherDefinition definition);
[[nodiscard]] const char* fisher_labels_name(FisherLabels labels);

struct FisherOptions {
  FisherDefinition definition = FisherDefinition::kPerSample;
  FisherLabels labels = FisherLabels::kTrue;
  int64_t batches = 100;
  int64_t batch_size = 32;
  std::vector<int> stages = {1, 2, 3, 4};  ///< 0 for the stem, 1..4
  bool head = false;                       ///< also of the fully connected layer
  data::ImageTransform transform;
  uint64_t seed = 0;
};

class FisherDiagonal {
 public:
  /// `network` (in evaluation mode) and `data` must outlive it; images are taken in shuffled order, again
  /// from the beginning when all were taken. Throws InvalidArgument for a network without classes, or true
  /// labels of another number of classes.
  FisherDiagonal(nn::TrainableResnet& network, const LabelledData& data, const FisherOptions& options);

  /// One batch. Throws InvalidArgument naming an image whose loss is not finite.
  void run_batch();
  [[nodiscard]] bool finished() const { return done_ == wanted(); }
  /// 0 for the uniform definition.
  [[nodiscard]] int64_t wanted() const;

  /// The result so far by torchvision's names: f32 on the host.
  [[nodiscard]] std::map<std::string, Tensor> result() const;
  /// Writes it, with format, arch, definition, labels, batches, batch_size, samples and `further` in the
  /// metadata.
  void write(const std::string& path, const weights::Metadata& further) const;

  /// What the result depends on beside the network and the images, as text.
  [[nodiscard]] weights::Metadata fields() const;
  // For anomaly/training_checkpoint.h: batches done, and the sums so far.
  [[nodiscard]] int64_t steps() const { return done_; }
  [[nodiscard]] TrainingState state() const { return sums_; }
  /// Throws InvalidArgument for another set of tensors.
  void restore(int64_t steps, const TrainingState& state);

 private:
  [[nodiscard]] std::vector<int64_t> batch_indices() const;
  void draw_labels(const autograd::Variable& logits, const Tensor& labels) const;
  void check_losses(const autograd::Variable& losses, const std::vector<int64_t>& indices) const;
  void add_squares();

  nn::TrainableResnet& net_;
  const LabelledData& data_;
  FisherOptions options_;
  autograd::Workspace workspace_;
  TrainingState sums_;  ///< f64
  int64_t done_ = 0;
};

}  // namespace panda::anomaly
