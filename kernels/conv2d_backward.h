// The gradients of a 2-D convolution (kernels/conv2d.h), y[n,k,p,q] = sum_{c,r,s} x[n,c,h,v] filter[k,c,r,s]
// + bias[k] with h = p*stride_h + r - pad_h, v = q*stride_w + s - pad_w:
//
//   dL_dx[n,c,h,v]      = sum over (k,r,s) and the (p,q) that read (h,v)  dL_dy[n,k,p,q] filter[k,c,r,s]
//   dL_dfilter[k,c,r,s] = sum_{n,p,q} dL_dy[n,k,p,q] x[n,c,h,v]
//   dL_dbias[k]         = sum_{n,p,q} dL_dy[n,k,p,q]
//
// The first is also the transposed convolution: its forward pass is conv2d_backward_input, its gradients are
// conv2d_forward and conv2d_backward_filter with x and dL_dy exchanged. ReLU and residual of the fused
// forward are not undone here (kernels/elementwise.h, unary_backward). All sums have a fixed order: same bits
// for any thread count.
#pragma once

#include <vector>

#include "kernels/conv2d.h"
#include "kernels/gradient.h"

namespace panda::kernels {

/// A filter in the form in which one device computes dL_dx. Made by conv2d_prepare_transposed_filter.
struct Conv2dTransposedFilter {
  Conv2dGeometry geometry;  ///< of the forward convolution
  int64_t k = 0;            ///< channels of dL_dy
  int64_t c = 0;            ///< channels of dL_dx
  int64_t r = 0;
  int64_t s = 0;
  const Device* device = nullptr;
  Tensor packed;                     ///< that device's affair
  std::vector<Conv2dFilter> phases;  ///< likewise
};

/// filter: f32 K,C,R,S, dense, all extents >= 1 · prepared: filled. Memory of an earlier preparation of equal
/// extents is used again, so that a filter prepared anew in every training step allocates once: copies of a
/// prepared filter share it.
struct Conv2dPrepareTransposedFilterArgs {
  ConstTensorView filter;
  Conv2dGeometry geometry;
  Conv2dTransposedFilter* prepared = nullptr;
};
void conv2d_prepare_transposed_filter(Device& device, const Conv2dPrepareTransposedFilterArgs& args);

/// dL_dy: N,K,P,Q · dL_dx: N,C,H,W, any H and W that the forward convolution takes to P and Q. Each dense f32
/// or in the device's activation layout and dtype, whose padding channels are zeros before and after. An
/// image's gradient does not depend on the rest of the batch.
struct Conv2dBackwardInputArgs {
  ConstTensorView dL_dy;
  const Conv2dTransposedFilter* filter = nullptr;
  Gradient dL_dx;
};
void conv2d_backward_input(Device& device, const Conv2dBackwardInputArgs& args);

/// With G_n[k,c,r,s] the part of dL_dfilter that image n gives:
///   dL_dfilter = sum_n G_n · squares = sum_n G_n^2 (the Fisher diagonal's sum, paper Eq. 3: no per-sample
///   gradient is stored) · dots[n,k] = sum_{c,r,s} filter[k,c,r,s] G_n[k,c,r,s] (what a folded batch norm's
///   gamma needs per sample).
/// x: N,C,H,W · dL_dy: N,K,P,Q, each dense f32 or in the activation layout and dtype · dL_dfilter, squares:
/// K,C,R,S, dense, each by its mode · filter: K,C,R,S and dots: N,K, both or neither.
struct Conv2dBackwardFilterArgs {
  ConstTensorView x;
  ConstTensorView dL_dy;
  Conv2dGeometry geometry;
  Gradient dL_dfilter;
  Gradient squares = {};
  ConstTensorView filter = {};
  TensorView dots = {};
};
void conv2d_backward_filter(Device& device, const Conv2dBackwardFilterArgs& args);

/// With b_n[k] = sum_{p,q} dL_dy[n,k,p,q] (summed in f64): dL_dbias = sum_n b_n · squares = sum_n b_n^2 ·
/// per_sample[n,k] = b_n[k]. dL_dy: N,K,P,Q (dense f32, or activation layout and dtype) or f32 N,K ·
/// dL_dbias, squares: K · per_sample: N,K, may be absent.
struct BiasBackwardArgs {
  ConstTensorView dL_dy;
  Gradient dL_dbias;
  Gradient squares = {};
  TensorView per_sample = {};
};
void bias_backward(Device& device, const BiasBackwardArgs& args);

}  // namespace panda::kernels
