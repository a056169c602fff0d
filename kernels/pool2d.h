// Pooling over windows of an image, and over the whole image.
#pragma once

#include "kernels/tensor/tensor.h"

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

}  // namespace panda::kernels
