// Batch normalisation: in evaluation mode an affine map per channel (alone, or folded into the filter before
// it), in training mode by the batch's own statistics. Every sum over a channel is kept in f64, in a fixed
// order.
#pragma once

#include "kernels/gradient.h"

namespace panda::kernels {

/// y = (x - mean[c]) / sqrt(variance[c] + epsilon) * gamma[c] + beta[c], computed in f32.
/// x, y: N,C,H,W, each dense f32 or in the device's activation layout and dtype; y may be x · gamma, beta,
/// mean, variance: C.
struct BatchNormForwardArgs {
  ConstTensorView x;
  ConstTensorView gamma;
  ConstTensorView beta;
  ConstTensorView mean;
  ConstTensorView variance;
  double epsilon = 1e-5;
  TensorView y;
};
void batch_norm_forward(Device& device, const BatchNormForwardArgs& args);

/// Gradients of batch_norm_forward; mean and variance are constants. With a = 1 / sqrt(variance[c] +
/// epsilon):
///   dL_dx = dL_dy gamma[c] a · dL_dgamma[c] = sum dL_dy (x - mean[c]) a · dL_dbeta[c] = sum dL_dy, sums over
///   n,h,w.
/// x, dL_dy: N,C,H,W; dL_dx may be dL_dy's memory. The three images lie in one layout, dense f32
/// or the activation layout and dtype.
struct BatchNormBackwardArgs {
  ConstTensorView x;
  ConstTensorView dL_dy;
  ConstTensorView gamma;
  ConstTensorView mean;
  ConstTensorView variance;
  double epsilon = 1e-5;
  Gradient dL_dx;
  Gradient dL_dgamma;
  Gradient dL_dbeta;
};
void batch_norm_backward(Device& device, const BatchNormBackwardArgs& args);

/// y = (x - m[c]) a[c] gamma[c] + beta[c] with the batch's own mean m, biased variance v and a = 1 / sqrt(v +
/// epsilon) over n,h,w. x: N,C,H,W with N*H*W >= 1 · gamma, beta: C, both or neither (then 1 and 0) · y: in
/// x's layout, not x · mean, inverse_deviation: C, filled with m and a for the backward pass · running_mean,
/// running_variance: C, both or neither: r <- (1 - momentum) r + momentum s, s the mean and the unbiased
/// variance (PyTorch's rule; with a single value per channel the biased one, 0).
struct BatchNormTrainingForwardArgs {
  ConstTensorView x;
  ConstTensorView gamma;
  ConstTensorView beta;
  double epsilon = 1e-5;
  TensorView y;
  TensorView mean;
  TensorView inverse_deviation;
  TensorView running_mean;
  TensorView running_variance;
  double momentum = 0.1;
};
void batch_norm_training_forward(Device& device, const BatchNormTrainingForwardArgs& args);

/// Its gradients. With xhat = (x - m) a, M = N*H*W, sums over n,h,w:
///   dL_dbeta = sum dL_dy · dL_dgamma = sum dL_dy xhat · dL_dx = gamma a (dL_dy - dL_dbeta / M - xhat
///   dL_dgamma / M),
/// the last from the formula's own sums, whatever the modes. gamma may be absent (1). dL_dx may be dL_dy's
/// memory.
struct BatchNormTrainingBackwardArgs {
  ConstTensorView x;
  ConstTensorView dL_dy;
  ConstTensorView gamma;
  ConstTensorView mean;
  ConstTensorView inverse_deviation;
  Gradient dL_dx;
  Gradient dL_dgamma;
  Gradient dL_dbeta;
};
void batch_norm_training_backward(Device& device, const BatchNormTrainingBackwardArgs& args);

/// The convolution (without bias) followed by the batch norm, as one convolution: with a[k] = gamma[k] /
/// sqrt(variance[k] + epsilon), folded_filter[k] = filter[k] a[k], folded_bias[k] = beta[k] - mean[k] a[k],
/// in f64, rounded once. filter, folded_filter: K,C,R,S · the others: K. All dense.
struct FoldBatchNormForwardArgs {
  ConstTensorView filter;
  ConstTensorView gamma;
  ConstTensorView beta;
  ConstTensorView mean;
  ConstTensorView variance;
  double epsilon = 1e-5;
  TensorView folded_filter;
  TensorView folded_bias;
};
void fold_batch_norm_forward(Device& device, const FoldBatchNormForwardArgs& args);

/// From the gradients G of the folded filter and b of the folded bias to those of what was folded (no
/// activation before the batch norm is needed). With i[k] = 1 / sqrt(variance[k] + epsilon):
///   dL_dfilter[k] = gamma[k] i[k] G[k] · dL_dgamma[k] = (<filter[k], G[k]> - mean[k] b[k]) i[k] ·
///   dL_dbeta[k] = b[k].
/// dL_dfilter may be G's memory (mode overwrite).
struct FoldBatchNormBackwardArgs {
  ConstTensorView filter;
  ConstTensorView gamma;
  ConstTensorView mean;
  ConstTensorView variance;
  double epsilon = 1e-5;
  ConstTensorView dL_dfolded_filter;
  ConstTensorView dL_dfolded_bias;
  Gradient dL_dfilter;
  Gradient dL_dgamma;
  Gradient dL_dbeta;
};
void fold_batch_norm_backward(Device& device, const FoldBatchNormBackwardArgs& args);

/// The same for sums over samples of squares (paper Eq. 3), from conv2d_backward_filter's squares S and dots
/// d, and bias_backward's per_sample b, all of the folded convolution:
///   filter[k] = (gamma[k] i[k])^2 S[k] · gamma[k] = sum_n ((d[n,k] - mean[k] b[n,k]) i[k])^2 · beta[k] =
///   sum_n b[n,k]^2.
/// squares: K,C,R,S · dots, per_sample: N,K · outputs as above.
struct FoldBatchNormSquaresArgs {
  ConstTensorView gamma;
  ConstTensorView mean;
  ConstTensorView variance;
  double epsilon = 1e-5;
  ConstTensorView squares;
  ConstTensorView dots;
  ConstTensorView per_sample;
  Gradient filter_squares;
  Gradient gamma_squares;
  Gradient beta_squares;
};
void fold_batch_norm_squares(Device& device, const FoldBatchNormSquaresArgs& args);

}  // namespace panda::kernels
