// Optimisers over a list of parameters: SGD in the official order with the EWC penalty fused in, Adam, and
// the rates of a schedule.
//
// A step reads the gradients that a backward pass left and updates the parameters in place, in the list's
// order. Deterministic: same bits for any thread count.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "autograd/parameter.h"

namespace panda::nn {

/// Elastic weight consolidation (paper Eq. 4): strength / 2 sum_i importance_i (theta_i - anchor_i)^2.
struct EwcPenalty {
  double strength = 0;
  /// Copies of the parameters to stay near, by name; made by `anchor_of`.
  std::map<std::string, Tensor> anchor;
  /// The Fisher diagonal by name, of the parameters' shapes, on the device. A name that is missing:
  /// importance 1 (Sec. 4.3.2).
  std::map<std::string, Tensor> importance;
};
/// Copies of the trainable parameters as they are now.
[[nodiscard]] std::map<std::string, Tensor> anchor_of(autograd::ParameterList& parameters);

struct StepReport {
  double gradient_norm = 0;  ///< 2-norm over all trainable parameters, penalty included, before clipping
  double penalty = 0;        ///< the EWC penalty before the step
};

struct SgdOptions {
  double momentum = 0;
  double decay =
      0;  ///< added to the gradient after clipping, batch norms included, as the official code does
  double max_norm = 0;  ///< clip of the global gradient norm; 0: none
};

/// Order of a step (talreiss/PANDA, panda.py): penalty, clip, decay, momentum, update (kernels/optimizer.h
/// has the equations).
class Sgd {
 public:
  /// `parameters` must outlive it; their trainable set is fixed from here on.
  Sgd(autograd::ParameterList& parameters, const SgdOptions& options);
  /// Adds the penalty to every further step. Throws InvalidArgument where a trainable parameter has no anchor
  /// or shapes differ.
  void set_penalty(EwcPenalty penalty);
  /// Throws InvalidArgument naming the first parameter with a gradient that is not finite; the parameters are
  /// then as before.
  StepReport step(double rate);

  // The parts of a step, for a device that replays them (kernels/tensor/repeated_work.h): work for the device
  // alone, and what the host does.

  /// Gives the device the penalty's gradient and the sums of norm and penalty.
  void measure();
  /// Waits for what `measure` gave. Throws as `step` does.
  [[nodiscard]] StepReport report() const;
  /// Gives the device the update of every parameter. The first step's differs from the others'.
  void apply(double rate);
  /// The step is made: counts it, and marks the parameters as changed.
  void advance();

  [[nodiscard]] int64_t steps() const { return steps_; }
  /// What a checkpoint holds beside the parameters: velocities by name.
  [[nodiscard]] std::map<std::string, Tensor> state() const;
  /// Goes on from there: `steps` made, velocities as given. Throws InvalidArgument for another set of names
  /// or shapes.
  void restore(int64_t steps, const std::map<std::string, Tensor>& state);

 private:
  autograd::ParameterList* parameters_;
  SgdOptions options_;
  EwcPenalty penalty_;
  bool penalized_ = false;
  std::map<std::string, Tensor> velocities_;
  Tensor sums_;  ///< squared norm, penalty
  int64_t steps_ = 0;
};

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double decay = 0;
};

class Adam {
 public:
  Adam(autograd::ParameterList& parameters, const AdamOptions& options);
  StepReport step(double rate);
  [[nodiscard]] int64_t steps() const { return steps_; }

 private:
  autograd::ParameterList* parameters_;
  AdamOptions options_;
  std::map<std::string, Tensor> first_moments_;
  std::map<std::string, Tensor> second_moments_;
  Tensor sums_;
  int64_t steps_ = 0;
};

/// base * factor^(milestones <= epoch), epochs counted from 0.
[[nodiscard]] double milestone_rate(double base, double factor, const std::vector<int64_t>& milestones,
                                    int64_t epoch);
/// Rises linearly over `warm_up` steps, then falls along half a cosine from base to floor at step `total`.
[[nodiscard]] double cosine_rate(double base, double floor, int64_t step, int64_t total, int64_t warm_up = 0);

}  // namespace panda::nn
