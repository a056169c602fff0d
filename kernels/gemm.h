// Dense matrix products: gemm, and the fully connected layer.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

/// c = op(a) op(b) (+ c if accumulate), f32, dense.
/// a: M,K (K,M if transpose_a) · b: K,N (N,K if transpose_b) · c: M,N, overlapping neither input.
/// Products are of operands rounded to the device's precision (f16 and bf16 included), sums f32.
/// Each element of c is one sum over K in a fixed order: the same bits for any thread count. K = 0 gives
/// zeros (c if accumulate).
struct GemmArgs {
  ConstTensorView a;
  ConstTensorView b;
  TensorView c;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;
};
void gemm(Device& device, const GemmArgs& args);

/// y[n,k] = sum_c x[n,c] weight[k,c] + bias[k], f32, dense.
/// x: N,C · weight: K,C · bias: K, may be absent · y: N,K. Rounding as in gemm. A row of y does not depend on
/// the other rows' presence (but for the vendor's engine, where rounding may).
struct LinearForwardArgs {
  ConstTensorView x;
  ConstTensorView weight;
  ConstTensorView bias;
  TensorView y;
};
void linear_forward(Device& device, const LinearForwardArgs& args);

}  // namespace panda::kernels
