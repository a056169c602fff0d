// What the files of the cpu device's convolution share. conv2d.cpp chooses the algorithm (when the filter is
// prepared, from the filter alone, so that an image's result cannot depend on its batch) and brings operands
// into the blocked layout; the algorithms see only that.
#pragma once

#include <optional>

#include "kernels/conv2d.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/tensor/checked_math.h"

namespace panda::kernels::cpu {

enum class ConvAlgorithm : int {
  /// Sum over channel blocks and taps. Filter [K/32][C/16][R][S][16][32].
  kDirect,
  /// Few input channels: a tap is a filter row, S*C values. Filter [K/32][R][S*C][32].
  kNarrow,
  /// F(4x4,3x3). Filter [K/32][36][C rounded to 16][32].
  kWinograd,
};

[[nodiscard]] ConvAlgorithm choose_algorithm(const Conv2dFilter& filter);

/// One convolution: `x` in either layout (kDirect, kNarrow) or blocked (kWinograd); `y` and `residual`
/// blocked; `bias` padded with zeros to whole blocks of 16, or null.
struct ConvProblem {
  CpuDevice& device;
  const Conv2dFilter& filter;
  const float* x;
  Layout x_layout;
  int64_t n, h, w, p, q;
  const float* bias;
  const float* residual;
  float* y;
  bool relu;

  [[nodiscard]] int64_t c_blocks() const { return ceil_div(filter.c, kChannelBlock); }
  [[nodiscard]] int64_t k_blocks16() const { return ceil_div(filter.k, kChannelBlock); }
  [[nodiscard]] int64_t k_blocks32() const { return ceil_div(filter.k, kFilterBlock); }
  /// Channel blocks of 16 that exist in filter block `kb`: 2, or 1 for an odd last one.
  [[nodiscard]] int64_t halves(int64_t kb) const { return std::min<int64_t>(2, k_blocks16() - 2 * kb); }
};

/// `view` in the blocked layout: itself, or a copy in `scratch`.
[[nodiscard]] const float* blocked(CpuDevice& device, const ConstTensorView& view,
                                   std::optional<Scratch>& scratch);

/// Packs a dense filter k,c,r,s of `prepared` for prepared.algorithm, into the memory it has if that fits.
void pack_filter(Device& device, const float* filter, Conv2dFilter& prepared);

void pack_direct(CpuDevice& device, const float* filter, Conv2dFilter& prepared, float* packed);
void pack_narrow(const float* filter, Conv2dFilter& prepared, float* packed);
void pack_winograd(CpuDevice& device, const float* filter, Conv2dFilter& prepared, float* packed);
[[nodiscard]] int64_t packed_floats(const Conv2dFilter& prepared);

void conv2d_direct(const ConvProblem& problem);
void conv2d_winograd(const ConvProblem& problem);

}  // namespace panda::kernels::cpu
