// Batch normalisation as a function of its own (kernels/batch_norm.h). After a convolution in evaluation mode
// use conv2d_batch_norm, which folds it and keeps no activation before it.
//
// Evaluation: y = (x - mean) a gamma + beta with a = 1 / sqrt(variance + epsilon) constant, so dL/dx = gamma
// a dL/dy,
//   dL/dgamma = sum dL/dy (x - mean) a, dL/dbeta = sum dL/dy. Kept: x.
// Training: mean m and variance v are functions of x. With xhat = (x - m) a, M values per channel, dm/dx_i =
// 1 / M and
//   dv/dx_i = 2 (x_i - m) / M give dL/dx = gamma a (dL/dy - mean(dL/dy) - xhat mean(dL/dy xhat)). Kept: x, m,
//   a.
#pragma once

#include "autograd/tape.h"

namespace panda::autograd {

inline constexpr double kBatchNormEpsilon = 1e-5;

/// x: N,C,H,W · the others: C.
[[nodiscard]] Variable batch_norm(const Variable& x, const Variable& gamma, const Variable& beta,
                                  const ConstTensorView& mean, const ConstTensorView& variance,
                                  double epsilon = kBatchNormEpsilon);

/// Running statistics that a training step moves; absent: not kept.
struct RunningStatistics {
  TensorView mean;
  TensorView variance;
  double momentum = 0.1;
};
/// By the batch's own statistics. gamma and beta may both be absent.
[[nodiscard]] Variable batch_norm_training(const Variable& x, const Variable& gamma, const Variable& beta,
                                           const RunningStatistics& running,
                                           double epsilon = kBatchNormEpsilon);

}  // namespace panda::autograd
