// What the two algorithms of the filter gradient on the cpu device share: the direct sum, which also gives
// per-sample squares and products, and Winograd's, for 3x3 filters with stride 1.
#pragma once

#include "kernels/conv2d_backward.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/tensor/checked_math.h"

namespace panda::kernels::cpu {

/// x and dL_dy in the blocked layout.
struct FilterGradientProblem {
  CpuDevice& device;
  const Conv2dBackwardFilterArgs& args;
  const float* x;
  const float* dL_dy;
  int64_t n;
  int64_t c, h, w;
  int64_t k, p, q;
  int64_t r, s;

  [[nodiscard]] int64_t c_blocks() const { return ceil_div(c, kChannelBlock); }
  [[nodiscard]] int64_t k_blocks16() const { return ceil_div(k, kChannelBlock); }
  [[nodiscard]] int64_t k_blocks32() const { return ceil_div(k, kFilterBlock); }
  /// Floats of one block's gradient: R*S*16*32.
  [[nodiscard]] int64_t tile() const { return r * s * kChannelBlock * kFilterBlock; }
};

/// [tap][16 c][32 k] of blocks kb and cb goes where the gradient asks.
void scatter_tile(const FilterGradientProblem& problem, const float* tile, int64_t kb, int64_t cb,
                  const Gradient& to);

/// Whether Winograd's form takes fewer operations here, and only the sum is wanted.
[[nodiscard]] bool filter_gradient_takes_winograd(const FilterGradientProblem& problem);
void filter_gradient_winograd(const FilterGradientProblem& problem);

}  // namespace panda::kernels::cpu
