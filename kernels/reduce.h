// Reductions along one axis, and the row-wise functions built on them. Every sum has a fixed order: same bits
// for any thread count.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

enum class ReduceOp : uint8_t { kSum, kMean, kSumOfSquares, kMax, kMin };

/// y = reduction of x along `axis`, f32, dense. x: any shape · y: x's shape without that axis (rank 0 for a
/// vector). Sums are kept in f64 and rounded once. An axis of extent 0: 0 for the sums; an error for mean,
/// max and min. NaN propagates.
struct ReduceForwardArgs {
  ReduceOp op = ReduceOp::kSum;
  ConstTensorView x;
  int axis = 0;
  TensorView y;
};
void reduce_forward(Device& device, const ReduceForwardArgs& args);

/// y[n,c] = exp(x[n,c] - max_c x) / sum_c exp(x[n,c] - max_c x). x, y: f32 N,C, dense; y may be x.
struct SoftmaxForwardArgs {
  ConstTensorView x;
  TensorView y;
};
void softmax_forward(Device& device, const SoftmaxForwardArgs& args);

/// y[n,:] = x[n,:] / |x[n,:]|_2, the norm in f64; a zero row stays zero. x, y: f32 N,D, dense; y may be x.
struct NormalizeRowsForwardArgs {
  ConstTensorView x;
  TensorView y;
};
void normalize_rows_forward(Device& device, const NormalizeRowsForwardArgs& args);

}  // namespace panda::kernels
