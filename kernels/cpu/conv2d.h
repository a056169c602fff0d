// What the files of the cpu device's convolution share. conv2d.cpp chooses the algorithm (when the filter is
// prepared, from the filter alone, so that an image's result cannot depend on its batch) and brings operands
// into the blocked layout; the algorithms see only that.
#pragma once

#include <array>
#include <optional>
#include <vector>

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

/// Where a filter's coefficient (k, c, tap) lies: data[k * k_stride + c * c_stride + taps[tap]]. So a
/// transposed filter is packed without being made first. The smaller stride is the number of taps that lie
/// side by side; `taps` are some of them, in any order.
struct FilterSource {
  const float* data;
  int64_t k_stride;
  int64_t c_stride;
  std::vector<int64_t> taps;
};
/// A dense filter k,c,r,s.
[[nodiscard]] FilterSource dense_source(const float* filter, int64_t c, int64_t taps);

/// Up to 32 x 16 coefficients k_begin.., c_begin.. as to[c * c_stride + tap * tap_stride + k], zeros beyond
/// k_end and c_end.
struct FilterBlock {
  int64_t k_begin, k_end;
  int64_t c_begin, c_end;
  int64_t c_stride, tap_stride;
};
void gather_filter_block(const MicroKernels& micro, const FilterSource& source, const FilterBlock& block,
                         float* to);

/// Packs the filter k,c,r,s of `prepared` for prepared.algorithm, into the memory it has if that fits.
void pack_filter(Device& device, const FilterSource& source, Conv2dFilter& prepared);

void pack_direct(CpuDevice& device, const FilterSource& source, Conv2dFilter& prepared, float* packed);
void pack_narrow(const FilterSource& source, Conv2dFilter& prepared, float* packed);
void pack_winograd(CpuDevice& device, const FilterSource& source, Conv2dFilter& prepared, float* packed);
[[nodiscard]] int64_t packed_floats(const Conv2dFilter& prepared);

/// Rows of Winograd's G: powers of the point divided by the product of its distances to the others; points 0,
/// +-sqrt(2)/2, +-sqrt(2), infinity.
[[nodiscard]] std::array<std::array<double, 3>, 6> winograd_filter_transform();

void conv2d_direct(const ConvProblem& problem);
void conv2d_winograd(const ConvProblem& problem);

}  // namespace panda::kernels::cpu
