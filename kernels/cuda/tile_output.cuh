// What implicit_gemm.cuh does with finished sums: y = relu(sum + bias + residual) in f32, rounded once to y's
// type and stored.
#pragma once

#include "kernels/cuda/tile_math.cuh"

namespace panda::kernels::PANDA_TARGET {

/// A matrix of `rows` x `columns` results: pixels x channels of a convolution, rows x columns of a product.
struct TileOutput {
  void* y;
  const float* bias;     ///< per column; nullptr: none
  const void* residual;  ///< nullptr: none; may be y itself
  int64_t rows;
  int columns;
  bool y_dense, residual_dense;  ///< f32 N,C,H,W; else row-major, in f32 or the operands' type:
  bool y_f32, residual_f32;
  bool relu;
  bool vectors;  ///< y and residual are row-major of one type, aligned, columns a multiple of 16 bytes
  FastDivisor per_image;  ///< pixels of an image, for dense
  int64_t image_pixels;

  /// Element (row, column) in a dense or a row-major matrix.
  [[nodiscard]] __device__ int64_t offset(bool dense, int64_t row, int column) const {
    if (!dense) return row * columns + column;
    int pixel = static_cast<int>(row);
    const int image = per_image.divide(pixel);
    return (static_cast<int64_t>(image) * columns + column) * image_pixels + pixel;
  }
  [[nodiscard]] __device__ float finished(float sum, float bias_value, float residual_value) const {
    const float value = sum + bias_value + residual_value;
    return relu && value < 0.0f ? 0.0f : value;
  }
};

/// Whole vectors: a warp writes whole lines of y, and reads whole lines of the residual.
template <typename T, int kTileM, int kTileN, int kThreads>
__device__ void write_vectors(const TileOutput& out, const float* staged, int64_t first_row, int first_column,
                              int thread) {
  constexpr int kSize = kPackOf<T>;
  constexpr int kVectors = kTileN / kSize;
  static_assert(kThreads % kVectors == 0);
  const int column = thread % kVectors * kSize;
  if (first_column + column >= out.columns) return;
  float bias[kSize];
#pragma unroll
  for (int i = 0; i < kSize; ++i) bias[i] = out.bias != nullptr ? out.bias[first_column + column + i] : 0.0f;
  for (int row = thread / kVectors; row < kTileM && first_row + row < out.rows; row += kThreads / kVectors) {
    const int64_t at = (first_row + row) * out.columns + first_column + column;
    Vector<T> residual = {};
    if (out.residual != nullptr) residual = load_pack<kPackOf<T>>(static_cast<const T*>(out.residual) + at);
    // sum_index keeps 8 neighbouring columns together.
    const float* sums = staged + sum_index<kTileN>(row, column);
    Vector<T> result;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      const float added = out.residual != nullptr ? as_float(residual.at[i]) : 0.0f;
      result.at[i] = from_float<T>(out.finished(sums[i], bias[i], added));
    }
    store_pack(static_cast<T*>(out.y) + at, result);
  }
}

/// Any layout, type and alignment; neighbouring lanes write neighbouring elements of y.
template <typename Element, int kTileM, int kTileN, int kThreads>
__device__ void write_elements(const TileOutput& out, const float* staged, int64_t first_row,
                               int first_column, int thread) {
  for (int i = thread; i < kTileM * kTileN; i += kThreads) {
    const int row = out.y_dense ? i % kTileM : i / kTileN;
    const int column = out.y_dense ? i / kTileM : i % kTileN;
    if (first_row + row >= out.rows || first_column + column >= out.columns) continue;
    const float bias = out.bias != nullptr ? out.bias[first_column + column] : 0.0f;
    float residual = 0.0f;
    if (out.residual != nullptr) {
      const int64_t at = out.offset(out.residual_dense, first_row + row, first_column + column);
      residual = out.residual_f32 ? static_cast<const float*>(out.residual)[at]
                                  : as_float(static_cast<const Element*>(out.residual)[at]);
    }
    const float value = out.finished(staged[sum_index<kTileN>(row, column)], bias, residual);
    const int64_t at = out.offset(out.y_dense, first_row + row, first_column + column);
    if (out.y_f32)
      static_cast<float*>(out.y)[at] = value;
    else
      static_cast<Element*>(out.y)[at] = from_float<Element>(value);
  }
}

template <typename Element, int kTileM, int kTileN, int kThreads>
__device__ void write_tile(const TileOutput& out, const float* staged, int64_t first_row, int first_column,
                           int thread) {
  if (!out.vectors)
    write_elements<Element, kTileM, kTileN, kThreads>(out, staged, first_row, first_column, thread);
  else if (out.y_f32)
    write_vectors<float, kTileM, kTileN, kThreads>(out, staged, first_row, first_column, thread);
  else
    write_vectors<Element, kTileM, kTileN, kThreads>(out, staged, first_row, first_column, thread);
}

}  // namespace panda::kernels::PANDA_TARGET
