// From the pixels of one image to the network's input: resampled in 8 bits along both axes, then one float
// for each 8-bit level (what scaling and normalising make of it). A crop is resampling fewer positions.
//
// With bilinear weights in Pillow's fixed point (data/resize.h computes them) the result has Pillow's and
// torchvision's bits. All of it is integer arithmetic and a table: the same bits on every device.
#pragma once

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

/// How one axis is resampled: position i of the result is
///   min(255, (2^21 + sum_t weights[i * stride + t] * x[first[i] + t]) >> 22),  0 <= t < count[i].
/// The tables are on the host. 1 <= count <= stride, first + count inside x; weights are not negative and
/// those of a position sum to less than 2^23, so that a sum stays below 2^31.
struct ResampleAxis {
  const int64_t* first = nullptr;
  const int64_t* count = nullptr;
  const int32_t* weights = nullptr;
  int64_t size = 0;  ///< positions of the result
  int64_t stride = 0;
};

/// image: u8 H,W,C, dense, C from 1 to 4 (samples interleaved) · along_height: P positions of H ·
/// along_width: Q positions of W · levels: f32 K,256, K = C, or any if C = 1 (gray is replicated) · y:
/// 1,K,P,Q, dense f32 or in the device's activation layout and dtype.
///
///   y[0,k,p,q] = levels[k, v],  v the pixel after the pass along the width and that along the height, each
///                               rounded to 8 bits; `height_first` says which of the two comes first.
struct ResizeForwardArgs {
  ConstTensorView image;
  ResampleAxis along_height;
  ResampleAxis along_width;
  bool height_first = false;
  ConstTensorView levels;
  TensorView y;
};
void resize_forward(Device& device, const ResizeForwardArgs& args);

/// Fractional bits of a weight.
inline constexpr int kResampleFractionBits = 22;

/// The positions of x that an axis reads: from `begin` on, `size` of them.
struct ResampleSource {
  int64_t begin = 0;
  int64_t size = 0;
};
[[nodiscard]] ResampleSource resample_source(const ResampleAxis& axis);

}  // namespace panda::kernels
