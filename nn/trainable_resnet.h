// A ResNet whose parameters can be trained: the same network as nn/resnet.h, over a tape.
//
// The batch norms' mode is chosen when the network is made and does not change by itself: in kEvaluation mode
// they use their running statistics, which never move (what PANDA trains with), and are folded into the
// convolutions in every step; in kBatchStatistics mode they normalise by the batch and move their running
// statistics (training from scratch). Gamma and beta are trainable in both.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "autograd/functions/conv2d.h"
#include "autograd/parameter.h"
#include "autograd/tape.h"
#include "nn/resnet_config.h"

namespace panda::nn {

enum class BatchNormMode : uint8_t { kEvaluation, kBatchStatistics };

class TrainableResnet final : public NamedTensors {
 public:
  /// Loads every parameter; nothing is trainable yet. `config` must fit the tensors (detect_resnet). Throws
  /// FormatError as Resnet does. `dtype`: f32, or f64 on the reference device (to check gradients).
  TrainableResnet(Device& device, const ResnetConfig& config, const NamedTensors& tensors, BatchNormMode mode,
                  DType dtype = DType::kF32);

  [[nodiscard]] const ResnetConfig& config() const { return config_; }
  [[nodiscard]] BatchNormMode mode() const { return mode_; }
  [[nodiscard]] Device& device() const { return parameters_.device(); }
  [[nodiscard]] autograd::ParameterList& parameters() { return parameters_; }
  /// Makes exactly the parameters of these stages (1..4 for layer1..layer4; 0 for the stem) and, if `head`,
  /// of the fully connected layer trainable, batch norms included. Throws InvalidArgument for another stage.
  void train_stages(const std::vector<int>& stages, bool head);
  /// The first of stem and stages with a trainable parameter: 0 for the stem, 1..4, or 5 (only the head, or
  /// nothing).
  [[nodiscard]] int first_trainable_stage() const;

  /// images: N,C,H,W. Stem and max-pooling: what stage 1 takes.
  [[nodiscard]] autograd::Variable stem(autograd::Tape& tape, const autograd::Variable& images);
  /// Stages first..last (1..4) of what stage `first` takes. x is taken by value so that its memory goes as
  /// soon as it may.
  [[nodiscard]] autograd::Variable stages(autograd::Tape& tape, autograd::Variable x, int first, int last);
  /// N,D.
  [[nodiscard]] autograd::Variable pooled(const autograd::Variable& x);
  /// N,classes of pooled features. Throws InvalidArgument for a network without classes.
  [[nodiscard]] autograd::Variable logits(autograd::Tape& tape, const autograd::Variable& features);
  /// From images to pooled features.
  [[nodiscard]] autograd::Variable features(autograd::Tape& tape, const autograd::Variable& images);

  // The network as it is now, by torchvision's names: what a weights file holds, and Resnet takes.
  [[nodiscard]] std::vector<TensorInfo> list() const override;
  [[nodiscard]] bool contains(const std::string& name) const override;
  [[nodiscard]] Tensor load(const std::string& name) const override;
  [[nodiscard]] std::string source() const override { return "the trained network"; }

 private:
  struct Convolution {
    std::string conv;
    std::string bn;
    int64_t extent = 1;
    int64_t stride = 1;
  };
  [[nodiscard]] autograd::Variable convolution(autograd::Tape& tape, const autograd::Variable& x,
                                               const Convolution& layer, bool relu,
                                               const autograd::Variable& residual);
  [[nodiscard]] autograd::Variable block(autograd::Tape& tape, autograd::Variable x, int stage,
                                         int64_t index);

  ResnetConfig config_;
  BatchNormMode mode_;
  autograd::ParameterList parameters_;
  std::map<std::string, Tensor> statistics_;             ///< running means and variances, on the device
  std::map<std::string, autograd::Conv2dCache> caches_;  ///< of each convolution
};

}  // namespace panda::nn
