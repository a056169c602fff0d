// A ResNet in evaluation mode on one device: features after every stage, pooled features, logits.
//
// Batch norms are folded into the convolutions when the network is built, so a block is two or three
// convolutions with bias, residual and ReLU fused.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "nn/inference_program.h"
#include "nn/resnet_config.h"

namespace panda::nn {

/// What a forward pass is to give. It stops after the last of these.
struct ResnetRequest {
  std::array<bool, kResnetStages> stages{};  ///< outputs of layer1..layer4
  bool features = false;                     ///< pooled
  bool logits = false;
};

/// Dense f32 tensors on the network's device; absent where not asked for.
struct ResnetResult {
  std::array<Tensor, kResnetStages>
      stages;       ///< N,C,H,W: each extent 1/4, 1/8, 1/16, 1/32 of the image's, rounded up
  Tensor features;  ///< N,D
  Tensor logits;    ///< N,classes
};

class Resnet {
 public:
  /// Loads, checks, folds and prepares one layer after another: beside the finished network there is never
  /// more than one layer's parameters in memory. `config` must fit the tensors (detect_resnet), but for:
  ///   input_channels: another count than the tensors' folds the first convolution (nn/fold.h,
  ///   fold_input_channels); class_count 0: the fully connected layer is not loaded.
  /// Throws FormatError naming source and tensor for a missing, misshapen or non-finite tensor or a negative
  /// variance.
  Resnet(Device& device, const ResnetConfig& config, const NamedTensors& parameters);

  [[nodiscard]] const ResnetConfig& config() const { return config_; }
  [[nodiscard]] Device& device() const { return program_.device(); }

  /// images: dense f32 N,C,H,W, on the host or the device, normalised as the weights expect; any H and W of
  /// at least 1. Deterministic; an image's results do not depend on the rest of the batch. One call at a
  /// time: calls share the activation arena. Throws InvalidArgument for a wrong shape, or for logits of a
  /// network without classes.
  [[nodiscard]] ResnetResult forward(const ConstTensorView& images, const ResnetRequest& request);
  /// The pooled features alone: N,D.
  [[nodiscard]] Tensor features(const ConstTensorView& images);

  /// Appends a copy of the network that differs from it in stages first_stage..4 alone (1..4 for
  /// layer1..layer4; 0: in the stem too; 5: nowhere), which are loaded from `parameters` as the constructor
  /// loads. All before is shared, in memory and in features_of_copies. Throws FormatError as the constructor.
  void add_copy(const NamedTensors& parameters, int first_stage);
  /// The network itself counts.
  [[nodiscard]] int64_t copies() const { return 1 + static_cast<int64_t>(copy_features_.size()); }
  /// Pooled features, N,D, of the network and of each copy in the order of add_copy: the bits that each would
  /// give as a network of its own, but what they share is computed once.
  [[nodiscard]] std::vector<Tensor> features_of_copies(const ConstTensorView& images);

  /// Bytes on the device that a forward pass on `batch` images of this size takes beside the parameters
  /// and the kernels' own scratch, known before the run.
  [[nodiscard]] int64_t activation_bytes(int64_t batch, int64_t height, int64_t width,
                                         const ResnetRequest& request) const;
  /// The same with every value's place.
  [[nodiscard]] ProgramPlan plan(int64_t batch, int64_t height, int64_t width,
                                 const ResnetRequest& request) const;
  /// Frees the memory kept between calls.
  void release_activations() { program_.release_arena(); }

 private:
  [[nodiscard]] std::vector<ValueId> outputs_of(const ResnetRequest& request) const;

  ResnetConfig config_;
  InferenceProgram program_;
  ValueId stem_value_ = 0;
  std::array<ValueId, kResnetStages> stage_values_{};
  ValueId feature_value_ = 0;
  std::vector<ValueId> copy_features_;
  std::optional<ValueId> logit_value_;
};

}  // namespace panda::nn
