// Batch normalisation in evaluation mode: an affine map per channel.
#pragma once

#include "kernels/tensor/tensor.h"

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

}  // namespace panda::kernels
