// Updates of trainable parameters. A tensor of n elements of any shape is n numbers here; sums over elements
// are f64 in a fixed order (blocks of 4096, then the blocks in rising order): same bits for any thread count.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

/// The gradient of the elastic-weight-consolidation penalty, and the norm that clipping needs, in one pass
/// (paper Eq. 4; the official code adds the penalty to the loss before it clips):
///   gradient += strength importance (theta - anchor) · penalty += strength / 2 sum importance (theta -
///   anchor)^2 · squared_norm += sum gradient^2 (after the addition).
/// gradient, theta, anchor, importance: f32, one shape, dense. anchor absent: no penalty. importance absent
/// beside an anchor: 1 everywhere (paper section 4.3.2). squared_norm, penalty: f64 scalars of shape 1; the
/// caller clears them before the first parameter, and calls with the parameters in one order; each may be
/// absent.
struct EwcGradientArgs {
  TensorView gradient;
  ConstTensorView theta;
  ConstTensorView anchor;
  ConstTensorView importance;
  double strength = 0;
  TensorView squared_norm = {};
  TensorView penalty = {};
};
void ewc_gradient(Device& device, const EwcGradientArgs& args);

/// One step of stochastic gradient descent in the official order: clip, decay, momentum.
///   f = min(1, max_norm / (sqrt(squared_norm) + 1e-6)), 1 if squared_norm is absent · g = f gradient + decay
///   theta · velocity = g at the first step, then momentum velocity + g · theta -= rate velocity.
/// Computed in f64 from the f32 operands; velocity and theta are rounded once each. theta, velocity,
/// gradient: f32, one shape, dense, apart. squared_norm: f64 of shape 1, over all parameters. A NaN norm
/// makes every element NaN: the caller looks at the norm.
struct SgdUpdateArgs {
  TensorView theta;
  TensorView velocity;
  ConstTensorView gradient;
  double rate = 0;
  double momentum = 0;
  double decay = 0;
  bool first_step = false;
  ConstTensorView squared_norm = {};
  double max_norm = 0;
};
void sgd_update(Device& device, const SgdUpdateArgs& args);

/// One step of Adam (Kingma and Ba, ICLR 2015) with decay added to the gradient (PyTorch's Adam, not AdamW);
/// step t counts from 1:
///   g = gradient + decay theta · m = beta1 m + (1 - beta1) g · v = beta2 v + (1 - beta2) g^2 ·
///   theta -= rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
/// In f64 from the f32 operands, each stored value rounded once. All tensors f32, one shape, dense, apart.
struct AdamUpdateArgs {
  TensorView theta;
  TensorView first_moment;
  TensorView second_moment;
  ConstTensorView gradient;
  double rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double decay = 0;
  int64_t step = 1;
};
void adam_update(Device& device, const AdamUpdateArgs& args);

}  // namespace panda::kernels
