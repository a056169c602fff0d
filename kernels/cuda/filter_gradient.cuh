// The product behind conv2d_backward_filter, for each image n of a batch:
//
//   G_n[k, (r,s,c)] = sum_{p,q} dL_dy[n,k,p,q] x[n, p stride_h + r - pad_h, q stride_w + s - pad_w, c]
//
// WHAT   A block makes 64 x 64 of the filter's gradient for a group of images, one image after the other: the
//        image's pixels are the depth, in stages of 64 bytes of operand (tile_layout.cuh), multiplied by Math
//        (tile_math.cuh). After an image its sums, in registers, are added to the group's sum, their squares
//        to the group's squares, and their products with the filter go to the image's dots. So no gradient of
//        a single image is ever written.
// READS  dL_dy once per column tile, x through R S windows per row tile, from L2 but the first time
// WRITES the group's sums and squares (f32, K x R S C each), dots by column tile
// FLOPS  2 N P Q K C R S, rounded up to tiles and, per image, to stages
// LAUNCH 1-D grid: groups x row tiles x column tiles, column tiles fastest; 128 threads; 16 KiB of dynamic
//        shared memory, in which the two stages take turns with the staged sums
// LIMITS pixels of an image, C R S and K below 2^30 less a tile
// ORDER  An image's sum runs over its pixels in rising order, the group's over its images, and the join
//        (conv2d_backward_filter.cu) over the groups; the groups depend on the shapes alone. So the same bits
//        on every GPU.
// SOURCE the formula above
#pragma once

#include "kernels/conv2d_backward.h"
#include "kernels/cuda/gemm_kinds.cuh"

namespace panda::kernels::PANDA_TARGET {

inline constexpr int kFilterTile = 64;

/// Everything a block needs. Strides are in elements.
struct FilterGradientProblem {
  const void* x;
  const void* dL_dy;
  int64_t x_stride_n, x_stride_c, x_stride_h, x_stride_w;
  int64_t y_stride_n, y_stride_k, y_stride_pixel;
  int height, width, channels;  ///< of x
  int pixels, row_pixels;       ///< P Q and Q
  int k, columns;               ///< output channels; R S C
  int stride_h, stride_w, pad_h, pad_w;
  FastDivisor by_channels, by_filter_width;
  int images, images_per_group;
  int row_tiles, column_tiles;
  float* sums;          ///< groups x K x R S C
  float* squares;       ///< likewise; nullptr: not asked for
  const float* filter;  ///< K,C,R,S; nullptr: no dots
  int taps;             ///< R S
  float* dots;          ///< N x column tiles x K
};

/// Rows k of dL_dy along the pixels of one image: a thread half a row of the stage.
template <typename Element, typename Input, int kThreads>
class GradientRowsLoader {
 public:
  __device__ GradientRowsLoader(const FilterGradientProblem& args, int first_row, int thread)
      : args_(args), row_(thread % kFilterTile), part_(thread / kFilterTile), k_(first_row + row_) {}

  __device__ void start_image(int n) {
    pixel_ = part_ * kElements;
    next_ = static_cast<const Input*>(args_.dL_dy) + n * args_.y_stride_n + k_ * args_.y_stride_k +
            pixel_ * args_.y_stride_pixel;
  }
  __device__ void issue() {
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      const bool valid = k_ < args_.k && pixel_ + i < args_.pixels;
      values_[i] = valid ? as_float(next_[i * args_.y_stride_pixel]) : 0.0F;
    }
    pixel_ += kStageDepth<Element>;
    next_ += kStageDepth<Element> * args_.y_stride_pixel;
  }
  __device__ void finish(unsigned char* stage) const {
    store_half_row<Element, kElements>(stage, row_, part_ * (kElements / kPackOf<Element>), values_);
  }

 private:
  static constexpr int kElements = kStageDepth<Element> / 2;
  static_assert(kThreads == 2 * kFilterTile);

  const FilterGradientProblem& args_;
  float values_[kElements];
  const Input* next_ = nullptr;
  int row_, part_;
  int64_t k_;
  int pixel_ = 0;
};

/// Rows (r,s,c) of the windows of x along the pixels of one image: a thread half a row of the stage, and
/// neighbouring lanes neighbouring channels.
template <typename Element, typename Input, int kThreads>
class WindowRowsLoader {
 public:
  __device__ WindowRowsLoader(const FilterGradientProblem& args, int first_row, int thread)
      : args_(args), row_(thread % kFilterTile), part_(thread / kFilterTile) {
    int c = first_row + row_;
    valid_ = c < args.columns;
    int s = args.by_channels.divide(c);
    const int r = args.by_filter_width.divide(s);
    top_ = r - args.pad_h;
    left_ = s - args.pad_w;
    channel_ = c * args.x_stride_c;
  }

  __device__ void start_image(int n) {
    x_ = static_cast<const Input*>(args_.x) + n * args_.x_stride_n + channel_;
    p_ = 0;
    q_ = part_ * kElements;
    carry();
  }
  __device__ void issue() {
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      const int h = p_ * args_.stride_h + top_;
      const int w = q_ * args_.stride_w + left_;
      // Past the image's last pixel dL_dy is zero; x must not be read there, nor a NaN be made of it.
      const bool inside = valid_ && p_ * args_.row_pixels < args_.pixels &&
                          static_cast<unsigned>(h) < static_cast<unsigned>(args_.height) &&
                          static_cast<unsigned>(w) < static_cast<unsigned>(args_.width);
      values_[i] = inside ? as_float(x_[h * args_.x_stride_h + w * args_.x_stride_w]) : 0.0F;
      ++q_;
      carry();
    }
    q_ += kElements;  // the other half's
    carry();
  }
  __device__ void finish(unsigned char* stage) const {
    store_half_row<Element, kElements>(stage, row_, part_ * (kElements / kPackOf<Element>), values_);
  }

 private:
  static constexpr int kElements = kStageDepth<Element> / 2;
  static_assert(kThreads == 2 * kFilterTile);

  __device__ void carry() {
    while (q_ >= args_.row_pixels) {
      q_ -= args_.row_pixels;
      ++p_;
    }
  }

  const FilterGradientProblem& args_;
  float values_[kElements];
  const Input* x_ = nullptr;
  int row_, part_;
  int top_, left_;  // of the tap, from a window's place without padding
  int p_ = 0, q_ = 0;
  int64_t channel_;
  bool valid_;
};

/// Dots of one image with the filter: row k of the tile, from the staged sums. Two threads a row, each half
/// of the columns in rising order, then both halves.
__device__ inline void write_dots(const FilterGradientProblem& args, const float* staged, int n,
                                  int first_row, int first_column, int column_tile, int thread) {
  const int row = thread / 2;
  const int k = first_row + row;
  constexpr int kHalf = kFilterTile / 2;
  float dot = 0.0F;
  for (int i = thread % 2 * kHalf; i < (thread % 2 + 1) * kHalf; ++i) {
    int c = first_column + i;
    if (k >= args.k || c >= args.columns) continue;
    const int tap = args.by_channels.divide(c);
    const float coefficient = args.filter[(static_cast<int64_t>(k) * args.channels + c) * args.taps + tap];
    dot = fmaf(coefficient, staged[sum_index<kFilterTile>(row, i)], dot);
  }
  dot += __shfl_xor_sync(kWholeWarp, dot, 1);
  if (thread % 2 == 0 && k < args.k)
    args.dots[(static_cast<int64_t>(n) * args.column_tiles + column_tile) * args.k + k] = dot;
}

/// One tile of a group's result, from the staged sums.
__device__ inline void write_group(const FilterGradientProblem& args, const float* staged, float* to,
                                   int group, int first_row, int first_column, int thread, int threads) {
  for (int i = thread; i < kFilterTile * kFilterTile; i += threads) {
    const int row = i / kFilterTile;
    const int column = i % kFilterTile;
    if (first_row + row >= args.k || first_column + column >= args.columns) continue;
    to[(static_cast<int64_t>(group) * args.k + first_row + row) * args.columns + first_column + column] =
        staged[sum_index<kFilterTile>(row, column)];
  }
}

template <typename Math, typename InputX, typename InputY>
__global__ void __launch_bounds__(Math::kThreads, 2) filter_gradient(const FilterGradientProblem args) {
  using Element = typename Math::Element;
  constexpr int kOperandBytes = kFilterTile * kRowBytes;
  PANDA_DYNAMIC_SHARED(unsigned char, shared);
  const int thread = static_cast<int>(threadIdx.x);
  int64_t column_tile;
  int64_t row_tile;
  const auto group =
      static_cast<int>(divide(divide(blockIdx.x, args.column_tiles, column_tile), args.row_tiles, row_tile));
  const int first_row = static_cast<int>(row_tile) * kFilterTile;
  const int first_column = static_cast<int>(column_tile) * kFilterTile;
  GradientRowsLoader<Element, InputY, Math::kThreads> a(args, first_row, thread);
  WindowRowsLoader<Element, InputX, Math::kThreads> b(args, first_column, thread);
  Math math(thread);
  float sums[Math::kSums] = {};
  float squares[Math::kSums] = {};
  auto* const staged = reinterpret_cast<float*>(shared);
  const int begin = group * args.images_per_group;
  const int end = min(begin + args.images_per_group, args.images);
  const int stages = (args.pixels + kStageDepth<Element> - 1) / kStageDepth<Element>;
  for (int n = begin; n < end; ++n) {
    a.start_image(n);
    b.start_image(n);
    a.issue();
    b.issue();
    for (int stage = 0; stage < stages; ++stage) {
      unsigned char* place = shared + stage % 2 * 2 * kOperandBytes;
      a.finish(place);
      b.finish(place + kOperandBytes);
      // Orders the stage's stores before its reads, and the reads of the stage before the last barrier before
      // the stores of the next stage, which take its place.
      __syncthreads();
      if (stage + 1 < stages) {
        a.issue();
        b.issue();
      }
      math.multiply(place, place + kOperandBytes);
    }
    // Orders the last stage's reads before what takes its place: the next image's stores or staged sums.
    __syncthreads();
    if (args.filter != nullptr) {
      math.stage_sums(staged);
      __syncthreads();  // orders the staged sums before their reads
      write_dots(args, staged, n, first_row, first_column, static_cast<int>(column_tile), thread);
      __syncthreads();  // orders those reads before the next image's stores
    }
    math.each_sum([&](int i, float& sum) {
      sums[i] += sum;
      squares[i] = fmaf(sum, sum, squares[i]);
      sum = 0.0F;
    });
  }
  math.each_sum([&](int i, float& sum) { sum = sums[i]; });
  math.stage_sums(staged);
  __syncthreads();  // orders the staged sums before their reads
  write_group(args, staged, args.sums, group, first_row, first_column, thread, Math::kThreads);
  if (args.squares == nullptr) return;
  __syncthreads();  // orders those reads before the squares, which take their place
  math.each_sum([&](int i, float& sum) { sum = squares[i]; });
  math.stage_sums(staged);
  __syncthreads();  // orders the staged squares before their reads
  write_group(args, staged, args.squares, group, first_row, first_column, thread, Math::kThreads);
}

/// Shared memory of a block: two stages, or the staged sums.
inline constexpr int kFilterGradientBytes = 4 * kFilterTile * kRowBytes;
static_assert(kFilterTile * kFilterTile * static_cast<int>(sizeof(float)) <= kFilterGradientBytes);

/// The kernel for one kind of product; x and dL_dy are each f32 or of the kind's element type.
template <typename Kind>
void filter_gradient_as(GpuDevice& device, const FilterGradientProblem& problem, int64_t groups, bool x_f32,
                        bool y_f32);
extern template void filter_gradient_as<F16Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool,
                                                 bool);
extern template void filter_gradient_as<BF16Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool,
                                                  bool);
extern template void filter_gradient_as<Tf32Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool,
                                                  bool);
extern template void filter_gradient_as<F32Kind>(GpuDevice&, const FilterGradientProblem&, int64_t, bool,
                                                 bool);

}  // namespace panda::kernels::PANDA_TARGET
