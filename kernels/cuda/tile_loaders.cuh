// How rows of an operand of implicit_gemm.cuh reach shared memory. A loader is one thread's share of the
// work on kRows rows of a block's tile:
//   issue(stage)   starts the next kStageDepth elements of the depth on their way into `stage`: asynchronous
//                  copies, or loads into registers
//   finish(stage)  rounds and stores what issue left in registers
// Rows past the operand's and elements past its depth become zeros: copies of 0 bytes, whose source may be
// any address. Each element is read exactly once per tile and lands in the same place whatever the loader, so
// that products do not depend on it.
#pragma once

#include "kernels/cuda/tile_layout.cuh"

namespace panda::kernels::PANDA_TARGET {

/// A matrix in the operand's own element type whose rows are contiguous. Packed filters, 1x1 convolutions of
/// stride 1 without padding, products of f32 matrices.
template <typename Element>
struct RowsSource {
  const Element* elements;  ///< 16-byte aligned
  int64_t row_stride;       ///< elements; a multiple of 16 bytes
  int64_t rows;
  int depth;  ///< a multiple of 16 bytes
};

template <typename ElementT, int kRows, int kThreads>
class RowsLoader {
 public:
  using Element = ElementT;
  using Source = RowsSource<Element>;

  __device__ RowsLoader(const Source& source, int64_t first_row, int thread) : depth_(source.depth) {
    const int row = thread / kChunksPerRow;
    const int chunk = thread % kChunksPerRow;
    depth_at_ = chunk * kPackOf<Element>;
    const int64_t rows_left = source.rows - first_row - row;
    rows_left_ = static_cast<int>(rows_left < kRows ? rows_left : kRows);
    next_ = source.elements + (first_row + row) * source.row_stride + depth_at_;
    pass_stride_ = source.row_stride * kRowsPerPass;
    shared_offset_ = chunk_offset(row, chunk);
  }

  __device__ void issue(unsigned char* stage) {
    const bool inside = depth_at_ < depth_;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const bool valid = inside && pass * kRowsPerPass < rows_left_;
      cp_async16(stage + shared_offset_ + pass * kRowsPerPass * kRowBytes, next_ + pass * pass_stride_,
                 valid ? kChunkBytes : 0);
    }
    next_ += kStageDepth<Element>;
    depth_at_ += kStageDepth<Element>;
  }
  __device__ void finish(unsigned char*) {}

 private:
  static constexpr int kRowsPerPass =
      kThreads / kChunksPerRow;  // a multiple of 8: one swizzle for all passes
  static constexpr int kPasses = kRows / kRowsPerPass;
  static_assert(kRowsPerPass % 8 == 0 && kRows % kRowsPerPass == 0);

  const Element* next_;
  int64_t pass_stride_;
  int rows_left_;
  int depth_;
  int depth_at_;
  int shared_offset_;
};

/// A batch of images as the rows n,p,q and depth r,s,c of a convolution, which are never written out: element
/// (n p q, r s c) is x[n, p stride_h + r - pad_h, q stride_w + s - pad_w, c], or 0 outside the image.
struct WindowGeometry {
  int64_t rows;  ///< n p q, below 2^31
  int height, width, channels;
  int filter_height, filter_width;
  int stride_h, stride_w, pad_h, pad_w;
  FastDivisor per_image;                               ///< p q
  FastDivisor per_row;                                 ///< q
  FastDivisor by_channels;                             ///< c
  FastDivisor by_filter_width;                         ///< s
  int64_t image_stride, h_stride, w_stride, c_stride;  ///< elements of x
  int64_t next_s, next_r;  ///< from past a tap's last channel to the next tap; what is more at a row's end

  /// Top left corner of row m's window, which may lie outside the image, and its offset in x. Rows that are
  /// not there get a corner from which no step leads into the image.
  __device__ void corner(int64_t m, int& h, int& w, int64_t& offset) const {
    if (m >= rows) {
      h = w = INT32_MIN / 2;
      offset = 0;
      return;
    }
    int rest = static_cast<int>(m);
    const int n = per_image.divide(rest);
    const int p = per_row.divide(rest);
    h = p * stride_h - pad_h;
    w = rest * stride_w - pad_w;
    offset = n * image_stride + h * h_stride + w * w_stride;
  }
  [[nodiscard]] __device__ bool inside(int h, int w) const {
    return static_cast<unsigned>(h) < static_cast<unsigned>(height) &&
           static_cast<unsigned>(w) < static_cast<unsigned>(width);
  }
};

template <typename Input>
struct ImageSource {
  const Input* x;
  WindowGeometry window;
};

/// Largest extent of a filter that ImageLoader takes: its taps' bits fit half a word, with one to spare.
inline constexpr int kLargestMaskedFilter = 15;

/// Images N,H,W,C in the operand's element type, 16-byte aligned, C a multiple of 16 bytes, so that a chunk
/// lies within one tap of the filter. Which of a window's rows and columns lie inside the image is a word of
/// bits, r and 16 + s, that is made once: a chunk costs one test and one addition.
template <typename ElementT, int kRows, int kThreads>
class ImageLoader {
 public:
  using Element = ElementT;
  using Source = ImageSource<Element>;

  __device__ ImageLoader(const Source& source, int64_t first_row, int thread) : window_(source.window) {
    const int row = thread / kChunksPerRow;
    const int chunk = thread % kChunksPerRow;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      int h = 0;
      int w = 0;
      int64_t offset = 0;
      window_.corner(first_row + row + pass * kRowsPerPass, h, w, offset);
      inside_[pass] = bits_inside(h, window_.height, window_.filter_height) |
                      bits_inside(w, window_.width, window_.filter_width) << 16;
      corner_[pass] = source.x + offset;
    }
    c_ = static_cast<int>(tap_ = chunk * kPackOf<Element>);
    next_tap();
    shared_offset_ = chunk_offset(row, chunk);
  }

  __device__ void issue(unsigned char* stage) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      cp_async16(stage + shared_offset_ + pass * kRowsPerPass * kRowBytes, corner_[pass] + tap_,
                 (inside_[pass] & needed_) == needed_ ? kChunkBytes : 0);
    }
    c_ += kStageDepth<Element>;
    tap_ += kStageDepth<Element>;
    if (c_ >= window_.channels) next_tap();
  }
  __device__ void finish(unsigned char*) {}

 private:
  static constexpr int kRowsPerPass = kThreads / kChunksPerRow;
  static constexpr int kPasses = kRows / kRowsPerPass;
  static_assert(kRowsPerPass % 8 == 0 && kRows % kRowsPerPass == 0);

  /// Carries c into s and r.
  __device__ void next_tap() {
    while (c_ >= window_.channels) {
      c_ -= window_.channels;
      tap_ += window_.next_s;
      if (++s_ == window_.filter_width) {
        s_ = 0;
        ++r_;
        tap_ += window_.next_r;
      }
    }
    // Past the filter, more than any window has.
    needed_ = r_ < window_.filter_height ? 1u << r_ | 0x10000u << s_ : ~0u;
  }
  /// Bits i < count with 0 <= first + i < extent.
  __device__ static unsigned bits_inside(int first, int extent, int count) {
    const int begin = max(0, -first);
    const int end = min(count, extent - first);
    return begin < end ? (1u << end) - (1u << begin) : 0u;
  }

  const WindowGeometry& window_;
  const Element* corner_[kPasses];
  unsigned inside_[kPasses];
  int64_t tap_;  // elements from a corner
  int r_ = 0, s_ = 0, c_;
  unsigned needed_;
  int shared_offset_;
};

/// Rounds half a row of the stage, from `first_chunk` on, and stores it.
template <typename Element, int kElements>
__device__ void store_half_row(unsigned char* stage, int row, int first_chunk,
                               const float (&values)[kElements]) {
  constexpr int kSize = kPackOf<Element>;
  static_assert(kElements == 2 * kSize);
#pragma unroll
  for (int chunk = 0; chunk < 2; ++chunk) {
    Vector<Element> vector;
#pragma unroll
    for (int i = 0; i < kSize; ++i) vector.at[i] = from_float<Element>(values[chunk * kSize + i]);
    store_pack(reinterpret_cast<Element*>(stage + chunk_offset(row, first_chunk + chunk)), vector);
  }
}

/// Images of any layout, alignment, channel count and element type, one element at a time through registers:
/// the stem (dense f32 images of 3 channels) and whatever the loader above cannot take. Neighbouring lanes
/// have neighbouring pixels, so that dense images are read in whole lines; a thread holds half a row of the
/// stage.
template <typename ElementT, typename Input, int kRows, int kThreads>
class ImageGatherLoader {
 public:
  using Element = ElementT;
  using Source = ImageSource<Input>;

  __device__ ImageGatherLoader(const Source& source, int64_t first_row, int thread)
      : window_(source.window), row_(thread % kRows), part_(thread / kRows) {
    int64_t offset = 0;
    window_.corner(first_row + row_, h_, w_, offset);
    corner_ = source.x + offset;
  }

  __device__ void issue(unsigned char*) {
    int c = depth_at_ + part_ * kElements;
    int s = window_.by_channels.divide(c);
    int r = window_.by_filter_width.divide(s);
    const Input* element = corner_ + (r * window_.h_stride + s * window_.w_stride + c * window_.c_stride);
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      const bool valid = r < window_.filter_height && window_.inside(h_ + r, w_ + s);
      values_[i] = valid ? as_float(*element) : 0.0f;
      element += window_.c_stride;
      if (++c == window_.channels) {
        c = 0;
        element += window_.next_s;
        if (++s == window_.filter_width) {
          s = 0;
          ++r;
          element += window_.next_r;
        }
      }
    }
    depth_at_ += kStageDepth<Element>;
  }

  __device__ void finish(unsigned char* stage) {
    store_half_row<Element, kElements>(stage, row_, part_ * (kElements / kPackOf<Element>), values_);
  }

 private:
  static constexpr int kElements = kRows * kStageDepth<Element> / kThreads;
  static_assert(kThreads == 2 * kRows);

  const WindowGeometry& window_;
  float values_[kElements];
  const Input* corner_;
  int h_, w_;
  int row_, part_;
  int depth_at_ = 0;
};

/// An f32 matrix of any strides and alignment, rounded to the operand's type on the way: one element at a
/// time, neighbouring lanes along the depth where that is contiguous, else along the rows.
struct MatrixSource {
  const float* elements;
  int64_t row_stride, depth_stride;  ///< elements
  int64_t rows;
  int64_t depth;
};

template <typename ElementT, int kRows, int kThreads>
class MatrixGatherLoader {
 public:
  using Element = ElementT;
  using Source = MatrixSource;

  __device__ MatrixGatherLoader(const Source& source, int64_t first_row, int thread)
      : along_depth_(source.depth_stride == 1) {
    row_ = along_depth_ ? thread / kDepth : thread % kRows;
    at_ = along_depth_ ? thread % kDepth : thread / kRows * kElements;
    next_ = source.elements + (first_row + row_) * source.row_stride + at_ * source.depth_stride;
    depth_stride_ = source.depth_stride;
    row_step_ = kRowStep * source.row_stride;
    const int64_t rows_left = source.rows - first_row - row_;
    rows_left_ = static_cast<int>(rows_left < kRows ? rows_left : kRows);
    depth_left_ = static_cast<int>(source.depth - at_);
  }

  __device__ void issue(unsigned char*) {
    const float* element = next_;
    if (along_depth_) {
      const bool inside = depth_left_ > 0;
#pragma unroll
      for (int i = 0; i < kElements; ++i, element += row_step_)
        values_[i] = inside && i * kRowStep < rows_left_ ? *element : 0.0f;
    } else {
      const bool inside = rows_left_ > 0;
#pragma unroll
      for (int i = 0; i < kElements; ++i, element += depth_stride_)
        values_[i] = inside && i < depth_left_ ? *element : 0.0f;
    }
    next_ += kDepth * depth_stride_;
    depth_left_ -= kDepth;
  }

  __device__ void finish(unsigned char* stage) {
    if (along_depth_) {
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        auto* chunk = reinterpret_cast<Element*>(stage + chunk_offset(row_ + i * kRowStep, at_ / kSize));
        chunk[at_ % kSize] = from_float<Element>(values_[i]);
      }
    } else {
      store_half_row<Element, kElements>(stage, row_, at_ / kSize, values_);
    }
  }

 private:
  static constexpr int kSize = kPackOf<Element>;
  static constexpr int kDepth = kStageDepth<Element>;
  static constexpr int kElements = kRows * kDepth / kThreads;
  static constexpr int kRowStep = kThreads / kDepth;
  static_assert(kThreads == 2 * kRows && kThreads % kDepth == 0);

  float values_[kElements];
  const float* next_;
  int64_t row_step_, depth_stride_;  // elements
  int rows_left_, depth_left_;       // of this thread's first
  int row_, at_;
  bool along_depth_;
};

}  // namespace panda::kernels::PANDA_TARGET
