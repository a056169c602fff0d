// 2-D convolution (cross-correlation, as the field calls it), groups = 1.
//
//   y[n,k,p,q] = relu( sum_{c,r,s} x[n, c, p*stride_h + r - pad_h, q*stride_w + s - pad_w] * filter[k,c,r,s]
//                      + bias[k] + residual[n,k,p,q] )
//   P = (H + 2 pad_h - R) / stride_h + 1, Q likewise; x is 0 outside. bias, residual and relu are optional.
//
// A filter is prepared once (packed for the device, perhaps transformed) and used many times. A batch norm in
// evaluation mode folds into filter and bias before that (nn/fold.h).
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

struct Conv2dGeometry {
  int64_t stride_h = 1;
  int64_t stride_w = 1;
  int64_t pad_h = 0;
  int64_t pad_w = 0;

  /// Extent of the output, for an input extent and a filter extent; 0 if the filter does not fit.
  [[nodiscard]] static int64_t output_extent(int64_t input, int64_t filter, int64_t stride, int64_t pad) {
    const int64_t room = input + 2 * pad - filter;
    return room < 0 ? 0 : room / stride + 1;
  }
};

/// A filter in the form in which one device computes with it. Made by conv2d_prepare_filter; `packed` is that
/// device's affair.
struct Conv2dFilter {
  Conv2dGeometry geometry;
  int64_t k = 0;  ///< output channels
  int64_t c = 0;  ///< input channels
  int64_t r = 0;  ///< height
  int64_t s = 0;  ///< width
  const Device* device = nullptr;
  int algorithm = 0;  ///< the device's own numbering
  Tensor packed;
  /// The same filter for the kernel that takes over where this algorithm's does not serve; absent for most.
  std::shared_ptr<const Conv2dFilter> fallback;
};

/// filter: f32 K,C,R,S, dense, all extents >= 1 · prepared: filled. Memory of an earlier preparation is used
/// again where it fits (a filter in training is prepared in every step): copies of a prepared filter share
/// it.
struct Conv2dPrepareFilterArgs {
  ConstTensorView filter;
  Conv2dGeometry geometry;
  Conv2dFilter* prepared = nullptr;
};
void conv2d_prepare_filter(Device& device, const Conv2dPrepareFilterArgs& args);
[[nodiscard]] Conv2dFilter conv2d_prepare_filter(Device& device, const ConstTensorView& filter,
                                                 const Conv2dGeometry& geometry);

/// x: N,C,H,W · bias: f32 K, may be absent · residual: N,K,P,Q, may be absent, may be y itself · y: N,K,P,Q.
/// x, residual and y are each dense f32, or in the device's activation layout and dtype; y overlaps no other
/// input. Products are of operands rounded to the device's precision; sum, bias and residual are f32, rounded
/// once to y. Padding channels of y's layout are written as zeros; those of x are taken to be zeros. An
/// image's result does not depend on the rest of the batch (but for the vendor's engine, where rounding may).
struct Conv2dForwardArgs {
  ConstTensorView x;
  const Conv2dFilter* filter = nullptr;
  ConstTensorView bias;
  ConstTensorView residual;
  TensorView y;
  bool relu = false;
};
void conv2d_forward(Device& device, const Conv2dForwardArgs& args);

}  // namespace panda::kernels
