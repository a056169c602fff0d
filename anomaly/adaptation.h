// The training loop that the paper's methods share: PANDA-Early, -SES, -EWC, outlier exposure, joint
// optimisation.
//
// A step: a minibatch of normal images (each epoch shuffled anew by the seed, the last, smaller batch kept)
// and, where the method wants them, auxiliary ones; the trained stages forward from what the frozen trunk
// gave once (anomaly/trunk_features.h); the method's losses; gradients; one step of nn/optimizer.h in the
// official order. Batch norms stay in evaluation mode. What is drawn at step t depends on the seed and t
// alone, so a fit that goes on from a checkpoint gives the bits of one that was never stopped; they depend
// neither on threads nor on where the trunk's output is kept.
//
// A device that records (a GPU) replays the steps of whole minibatches, in two parts: gradients and norm,
// which touch no parameter, and the update. Between them the host looks at loss and norm, the one wait of a
// step.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anomaly/training_log.h"
#include "anomaly/trunk_features.h"
#include "kernels/tensor/repeated_work.h"
#include "nn/optimizer.h"

namespace panda::anomaly {

struct AdaptationOptions {
  std::vector<int> blocks = {3, 4};  ///< the stages that are trained, 1..4 for layer1..layer4
  int64_t minibatches = 0;
  int64_t batch_size = 32;  ///< of normal images, and as many auxiliary ones
  double rate = 1e-2;
  nn::SgdOptions sgd{.momentum = 0.9, .decay = 5e-5, .max_norm = 1e-3};
  /// A copy of the trained parameters is taken every so many minibatches (SES); 0: none.
  int64_t snapshot_every = 0;
  uint64_t seed = 0;
  bool record = true;  ///< false: every step is called anew also where the device records, to the same bits
};
/// Throws InvalidArgument naming the option.
void check_adaptation(const AdaptationOptions& options);

/// The minibatches of one epoch over n images.
[[nodiscard]] int64_t minibatches_per_epoch(int64_t n, int64_t batch_size);

struct Minibatch {
  Tensor rows;                     ///< inputs of the trained part: the normal images first
  std::vector<int64_t> normal;     ///< indices in the set of normal images
  std::vector<int64_t> auxiliary;  ///< indices in the set of auxiliary images
  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(normal.size() + auxiliary.size()); }
};

/// One part of a loss: sum_i weights_i losses_i. With a weight of 0 a row has no part in it.
struct LossTerm {
  autograd::Variable losses;   ///< N
  std::vector<float> weights;  ///< N
};

/// Copies `rows` (host or `device`) to the beginning of `memory`, which is made anew only where it is too
/// small: minibatches of one size find them at one address. Returns where they are.
[[nodiscard]] TensorView put_rows(Device& device, const ConstTensorView& rows, Tensor& memory);

/// What a method minimises.
class AdaptationObjective {
 public:
  AdaptationObjective() = default;
  AdaptationObjective(const AdaptationObjective&) = delete;
  AdaptationObjective& operator=(const AdaptationObjective&) = delete;
  virtual ~AdaptationObjective() = default;
  /// Names of the terms, for the log.
  [[nodiscard]] virtual std::vector<std::string> terms() const = 0;
  /// Before the losses of a minibatch: puts what they take of it beside its features (labels) on the device,
  /// for minibatches of one size in one place.
  virtual void begin(Device& /*device*/, const Minibatch& /*minibatch*/) {}
  /// The terms of the minibatch begun, from its pooled features N,D. What they refer to must stay until the
  /// next call. Gives work to the device and no more, the same for all minibatches of equally many normal and
  /// auxiliary images: where steps are replayed it is not called for each. So the weights depend on those two
  /// numbers alone.
  [[nodiscard]] virtual std::vector<LossTerm> losses(autograd::Tape& tape, const autograd::Variable& features,
                                                     const Minibatch& minibatch) = 0;
};

enum class AuxiliaryDraw : uint8_t {
  kFresh,   ///< each minibatch draws anew from all (the official outlier loader: never an epoch)
  kEpochs,  ///< shuffled epochs, as the normal images
};

class Adaptation {
 public:
  /// Trains the trainable parameters of `network` on the images `normal` of `trunk`. All must outlive it.
  Adaptation(nn::TrainableResnet& network, const TrunkFeatures& trunk, std::vector<int64_t> normal,
             AdaptationObjective& objective, const AdaptationOptions& options);
  /// Adds auxiliary images to every minibatch: batch_size of them, or all if they are fewer. `trunk` must
  /// outlive it and be of the same network.
  void set_auxiliary(const TrunkFeatures& trunk, AuxiliaryDraw draw);
  /// Adds the EWC penalty (paper Eq. 4).
  void set_penalty(nn::EwcPenalty penalty);

  [[nodiscard]] int64_t steps() const { return sgd_.steps(); }
  [[nodiscard]] bool done() const { return steps() >= options_.minibatches; }
  /// One minibatch, and its row in the log. Throws InvalidArgument where loss or gradient is not finite,
  /// naming the first such image and stage; the parameters are then as before.
  void step();

  [[nodiscard]] TrainingLog& log() { return log_; }
  [[nodiscard]] const TrainingLog& log() const { return log_; }
  /// Copies of the trained parameters, by name, on the host, in the order in which they were taken.
  [[nodiscard]] const std::vector<std::map<std::string, Tensor>>& snapshots() const { return snapshots_; }
  /// Bytes that a step's activations and gradients of activations take.
  [[nodiscard]] int64_t step_bytes() const { return workspace_.peak_bytes(); }
  /// Whether the next step of a whole minibatch is replayed.
  [[nodiscard]] bool replays() const { return gradients_.recorded() && update_.recorded(); }

  /// Everything that a further step depends on, as tensors on the host.
  [[nodiscard]] std::map<std::string, Tensor> state() const;
  /// Goes on from there. Throws InvalidArgument if the state is that of another network or method.
  void restore(int64_t steps, const std::map<std::string, Tensor>& state);

 private:
  struct Auxiliary {
    const TrunkFeatures* trunk = nullptr;
    AuxiliaryDraw draw = AuxiliaryDraw::kFresh;
    int64_t count = 0;  ///< in a minibatch
  };
  /// The losses that a step left on the device, term by term, and the seeds of its gradients.
  struct StepTerms {
    std::vector<Tensor> losses;
    std::vector<Tensor> seeds;  ///< the weights
    std::vector<std::vector<float>> weights;
  };
  [[nodiscard]] Minibatch draw_minibatch(int64_t step) const;
  [[nodiscard]] std::vector<LossTerm> forward(autograd::Tape& tape, const Minibatch& minibatch);
  void plan(const Minibatch& minibatch);
  void compute(autograd::Workspace& workspace, const Minibatch& minibatch, StepTerms& terms);
  void compute_whole(Minibatch& minibatch);
  void update();
  void forget_steps();
  [[noreturn]] void refuse_loss(const Minibatch& minibatch, double loss);
  [[nodiscard]] std::string file_of(const Minibatch& minibatch, int64_t row) const;

  nn::TrainableResnet* network_;
  const TrunkFeatures* trunk_;
  std::vector<int64_t> normal_;
  AdaptationObjective* objective_;
  AdaptationOptions options_;
  Auxiliary auxiliary_;
  nn::Sgd sgd_;
  TrainingLog log_;
  std::vector<std::map<std::string, Tensor>> snapshots_;
  autograd::Workspace workspace_;  ///< planned for whole minibatches
  int64_t planned_rows_ = 0;
  // Of whole minibatches: what is replayed, and where it finds and leaves things.
  Tensor rows_;
  StepTerms terms_;
  RepeatedWork gradients_;
  RepeatedWork update_;
};

/// The trained parameters as they are now, by name, on the host.
[[nodiscard]] std::map<std::string, Tensor> trained_values(nn::TrainableResnet& network);
/// Sets the trained parameters. Throws InvalidArgument for other names or shapes.
void set_trained_values(nn::TrainableResnet& network, const std::map<std::string, Tensor>& values);

}  // namespace panda::anomaly
