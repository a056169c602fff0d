// Pooling over windows of an image, and over the whole image; enlargement by repeating pixels.
#pragma once

#include "kernels/gradient.h"

namespace panda::kernels {

/// Window, stride and padding of a pooling layer; pad < window, so that no window lies outside the image.
struct Pool2dGeometry {
  int64_t window_h = 1;
  int64_t window_w = 1;
  int64_t stride_h = 1;
  int64_t stride_w = 1;
  int64_t pad_h = 0;
  int64_t pad_w = 0;
};

/// x: N,C,H,W · y: N,C,P,Q with P = (H + 2 pad_h - window_h) / stride_h + 1. Each dense f32, or in the
/// device's activation layout and dtype.
struct Pool2dForwardArgs {
  ConstTensorView x;
  Pool2dGeometry geometry;
  TensorView y;
};
/// Largest value in the window, padding left out; a NaN in the window gives NaN.
void max_pool2d_forward(Device& device, const Pool2dForwardArgs& args);
/// Sum over the window / (window_h * window_w): padding counts as zeros (PyTorch's default,
/// count_include_pad).
void avg_pool2d_forward(Device& device, const Pool2dForwardArgs& args);

/// y[n,c] = mean over h,w of x. x: N,C,H,W (H*W >= 1), dense f32 or in the activation layout and dtype · y:
/// f32 N,C, dense.
struct GlobalAvgPool2dForwardArgs {
  ConstTensorView x;
  TensorView y;
};
void global_avg_pool2d_forward(Device& device, const GlobalAvgPool2dForwardArgs& args);

/// Gradients of the two poolings above. Each output's gradient goes to the window's first largest element (in
/// row-major order; to the last NaN if there is one, as PyTorch does), or in equal parts 1 / (window_h
/// window_w) to all of it. x: N,C,H,W, for the maximum alone (else absent) · dL_dy: N,C,P,Q · dL_dx:
/// N,C,H,W. All in one layout, dense f32 or the activation layout and dtype, padding channels of dL_dy zero.
/// An element's sum runs over its windows in row-major order.
struct Pool2dBackwardArgs {
  ConstTensorView x;
  ConstTensorView dL_dy;
  Pool2dGeometry geometry;
  Gradient dL_dx;
};
void max_pool2d_backward(Device& device, const Pool2dBackwardArgs& args);
void avg_pool2d_backward(Device& device, const Pool2dBackwardArgs& args);

/// dL_dx[n,c,h,w] = dL_dy[n,c] / (H W). dL_dy: f32 N,C, dense · dL_dx: N,C,H,W, dense f32 or in the
/// activation layout and dtype.
struct GlobalAvgPool2dBackwardArgs {
  ConstTensorView dL_dy;
  Gradient dL_dx;
};
void global_avg_pool2d_backward(Device& device, const GlobalAvgPool2dBackwardArgs& args);

/// y[n,c,p,q] = x[n,c,p/scale_h,q/scale_w]. x: N,C,H,W · y: N,C,scale_h H,scale_w W. Both in one layout,
/// dense f32 or the activation layout and dtype.
struct UpsampleNearest2dForwardArgs {
  ConstTensorView x;
  int64_t scale_h = 1;
  int64_t scale_w = 1;
  TensorView y;
};
void upsample_nearest2d_forward(Device& device, const UpsampleNearest2dForwardArgs& args);

/// dL_dx[n,c,h,w] = sum of dL_dy over the scale_h x scale_w outputs made from it.
struct UpsampleNearest2dBackwardArgs {
  ConstTensorView dL_dy;
  int64_t scale_h = 1;
  int64_t scale_w = 1;
  Gradient dL_dx;
};
void upsample_nearest2d_backward(Device& device, const UpsampleNearest2dBackwardArgs& args);

}  // namespace panda::kernels
