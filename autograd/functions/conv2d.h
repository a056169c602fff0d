// Convolution, with what usually follows it fused: y = relu(conv(x, filter) + bias + residual), and the same
// with a batch norm in evaluation mode folded into filter and bias. Transposed convolution.
//
// With g = dL/dy [y > 0] (or dL/dy without relu):
//   dL/dx = transposed convolution of g with the filter · dL/dfilter[k,c,r,s] = sum over pixels of g x ·
//   dL/dbias[k] = sum g · dL/dresidual = g (kernels/conv2d_backward.h).
// Folded: filter' = s filter, bias' = beta - mean s with s = gamma i, i = 1 / sqrt(variance + epsilon). By
// the chain rule, with G = dL/dfilter', b = dL/dbias': dL/dfilter = s G, dL/dbeta = b, dL/dgamma = i
// (<filter, G> - mean b): no activation before the batch norm is needed. The same holds for each sample, so
// squares are s^2 sum G_n^2 and so on (kernels/batch_norm.h, fold_batch_norm_squares). Kept: x (if the filter
// is trained), y (with relu). Packed filters are kept where they may serve again, see Conv2dCache.
#pragma once

#include "autograd/tape.h"
#include "kernels/conv2d_backward.h"

namespace panda::autograd {

/// A layer's packed filters, kept from step to step and made anew when a parameter they were made from has
/// changed (Parameter::version). A trained layer's filter changes after each use, so it is packed into the
/// workspace (FilterMemory), turned round when the backward pass comes to it, and kept from its second use
/// unchanged on: the Fisher diagonal, evaluation. A device that records work keeps all. One per layer; not
/// shared between two uses on one tape.
struct Conv2dCache {
  kernels::Conv2dFilter filter;
  kernels::Conv2dTransposedFilter transposed;
  Tensor folded_bias;
  uint64_t filter_version = 0;      ///< 0: never made
  uint64_t transposed_version = 0;  ///< likewise
  uint64_t used_version = 0;        ///< of the last use, kept or not
};

struct Conv2dOptions {
  kernels::Conv2dGeometry geometry;
  bool relu = false;
  Conv2dCache* cache = nullptr;  ///< may be null: then everything is packed anew
};

/// x: N,C,H,W · filter: K,C,R,S · bias: K, may be absent · residual: N,K,P,Q in y's layout, may be absent. y
/// is in the device's layout.
[[nodiscard]] Variable conv2d(const Variable& x, const Variable& filter, const Variable& bias,
                              const Variable& residual, const Conv2dOptions& options);

/// A batch norm's constants.
struct BatchNormStatistics {
  ConstTensorView mean;
  ConstTensorView variance;
  double epsilon = 1e-5;
};
/// relu(batch_norm(conv(x, filter)) + residual). gamma, beta: K.
[[nodiscard]] Variable conv2d_batch_norm(const Variable& x, const Variable& filter, const Variable& gamma,
                                         const Variable& beta, const BatchNormStatistics& statistics,
                                         const Variable& residual, const Conv2dOptions& options);

/// y = the input gradient of a convolution with this filter and geometry whose output gradient is x
/// (PyTorch's ConvTranspose2d; its weight C_in,C_out,R,S is our filter K,C,R,S). x: N,K,P,Q · y:
/// N,C,height,width, extents that the convolution takes to P and Q.
[[nodiscard]] Variable conv2d_transposed(const Variable& x, const Variable& filter,
                                         const kernels::Conv2dGeometry& geometry, int64_t height,
                                         int64_t width);

}  // namespace panda::autograd
