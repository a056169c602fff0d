// The inner loops of the cpu device, one table per instruction set.
//
// simd/*.inl is compiled three times (kernels_baseline.cpp, kernels_avx2.cpp, kernels_avx512.cpp), each time
// with other flags and in another namespace. RULE for everything those files include, this header among it:
// no std:: templates and no inline functions with external linkage. The linker keeps one copy of such a
// function for the whole program, and if that is the AVX-512 one, the program dies on every other machine. A
// test (tests/unit/cpu/no_weak_symbols.cmake) reads the objects' symbols.
#pragma once

#include <stdint.h>

namespace panda::kernels::cpu {

/// Output channels in one packed filter block, and reduction elements in one block of 16 channels.
constexpr int64_t kFilterBlock = 32;
/// Floats from one pixel to the next in a narrow patch buffer (conv2d_direct.cpp): S*C rounded up, at most
/// this.
constexpr int64_t kNarrowPixel = 24;

/// Where finished sums go: y = relu(sum + bias + residual). Element [row][pixel][k] of the 32 channels lies
/// at row * row_stride + pixel * pixel_stride + (k / 16) * half_stride + k % 16, in y and in the residual
/// alike.
struct Epilogue {
  float* y;
  const float* residual;  ///< may be null, may be y
  const float* bias;      ///< 32 values, or null
  int64_t row_stride;
  int64_t pixel_stride;
  int64_t half_stride;
  int64_t halves;  ///< 1: only channels 0..15 exist
  bool relu;
};

/// rows x pixels output pixels times 32 output channels:
///   sum[row][pixel][k] = sum over block, tap, i of x[row*x_row_stride + block*x_block_stride + taps[tap] +
///   pixel*P + i]
///                                               * w[row*w_row_stride + ((block*tap_count + tap)*length +
///                                               i)*32 + k]
/// in that order, where P = length = 16 (tile_product) or P = kNarrowPixel (tile_product_narrow).
/// 1x1 convolution, direct convolution and Winograd's 36 products are all this one loop.
struct TileProductArgs {
  const float* x;
  int64_t rows;
  int64_t pixels;
  int64_t x_row_stride;
  int64_t x_block_stride;
  int64_t blocks;
  const int64_t* taps;
  int64_t tap_count;
  int64_t length;
  const float* w;
  int64_t w_row_stride;
  const float* w_next;  ///< what the next call will read as w, brought into L2 meanwhile; may be null
  int64_t w_next_floats;
  Epilogue epilogue;
};

/// c[row][column] = (add ? c[row][column] : 0) + sum over k in rising order of
///   a[row * a_row_stride + k * a_k_stride] * b[k * b_k_stride + column]
/// as one chain of multiply-adds that begins with c. Rows < rows; columns up to the next multiple of the
/// vector length are read from b and c and written to c.
struct GemmPanelArgs {
  const float* a;
  int64_t a_row_stride;
  int64_t a_k_stride;
  int64_t rows;
  int64_t k;
  const float* b;
  int64_t b_k_stride;
  int64_t columns;      ///< at most MicroKernels::gemm_columns
  const float* b_next;  ///< k rows that the next call will read as b, brought into L2 meanwhile; may be null
  int64_t b_next_k_stride;
  float* c;
  int64_t c_row_stride;
  bool add;
};

/// The same chains for at most kGemmNarrow columns, with rows of `a` contiguous in k:
///   c[row * c_row_stride + column * c_column_stride] = (add ? itself : 0) + sum over k in rising order of
///   a[row * a_row_stride + k] * b[k * b_k_stride + column * b_column_stride]
constexpr int64_t kGemmNarrow = 4;
struct GemmNarrowArgs {
  const float* a;
  int64_t a_row_stride;
  int64_t rows;
  int64_t k;
  const float* b;
  int64_t b_k_stride;
  int64_t b_column_stride;
  int64_t columns;
  float* c;
  int64_t c_row_stride;
  int64_t c_column_stride;
  bool add;
};

/// Scores norms[j] - 2 sum_k a[i * row_stride + k] panel[k][j] of `rows` rows and a panel of columns rounded
/// up to whole vectors, for each lane and row the least two (all columns of the lane, over all calls) and the
/// least one's column: state[row][3][vector_floats] is best, second, and the bits of an int32. Where there is
/// no column, norms is infinite. Of equal scores the first column wins. Scores are finite or +infinity.
struct NearestPanelArgs {
  const float* a;
  int64_t row_stride;
  int64_t rows;
  int64_t d;
  const float* panel;
  int64_t columns;  ///< at most MicroKernels::gemm_columns
  int64_t first_column;
  const float* norms;
  float* state;
};

/// sums[j] += weights[i] x[i * stride + j] for i = members[0], members[1], ..., j < columns, in f64: the
/// product is exact, the addition rounded.
struct AddRowsArgs {
  const float* x;
  int64_t stride;
  const int64_t* members;
  int64_t count;
  const float* weights;  ///< null: 1
  int64_t columns;
  double* sums;
};

/// As AddRowsArgs, by kmeans_exchange's rule: coarse parts to `sums`, fine ones to `fine_sums`.
struct AddRowsExactArgs {
  const float* x;
  int64_t stride;
  const int64_t* members;
  int64_t count;
  const float* weights;  ///< null: 1
  bool subtract;
  int64_t columns;
  const double* grid;
  const double* fine_grid;
  double* sums;
  double* fine_sums;
};

/// Winograd F(4x4,3x3): tiles [first, first + count) of the batch (tile = (n * tiles_h + th) * tiles_w + tw),
/// all channels. v[36][blocks][count][16], slices v_stride and blocks v_block_stride floats apart.
struct WinogradInputArgs {
  const float* x;  ///< N,blocks,H,W,16
  int64_t blocks;
  int64_t h;
  int64_t w;
  int64_t pad_h;
  int64_t pad_w;
  int64_t tiles_h;
  int64_t tiles_w;
  int64_t first;
  int64_t count;
  float* v;
  int64_t v_stride;
  int64_t v_block_stride;
};

/// m[36][count][32] -> 4x4 pixels per tile of y, N,k_blocks,P,Q,16, at channel block `k_block` and (if halves
/// is 2) the next.
struct WinogradOutputArgs {
  const float* m;
  int64_t k_blocks;
  int64_t k_block;
  int64_t halves;
  int64_t p;
  int64_t q;
  int64_t tiles_h;
  int64_t tiles_w;
  int64_t first;
  int64_t count;
  float* y;
  const float* residual;  ///< laid out as y; may be null, may be y
  const float* bias;      ///< 32 values, or null
  bool relu;
};

/// y[n][k] = sum_c x[n][c] weight[k][c] + bias[k] for all n and k in [k_begin, k_end). Lane j of an
/// accumulator sums the c with c mod lanes = j in rising order, then the lanes are added pairwise: an
/// element's bits do not depend on the other rows.
struct LinearArgs {
  const float* x;
  const float* weight;
  const float* bias;
  float* y;
  int64_t n;
  int64_t c;
  int64_t k;
  int64_t k_begin;
  int64_t k_end;
};

/// A window of `rows` x `columns` pixels for each of `count` output pixels of one row and one channel block
/// of 16.
struct PoolRowArgs {
  const float* x;  ///< the channel block's image, H,W,16
  int64_t h;
  int64_t w;
  int64_t h_begin;  ///< first row of the window, may be negative
  int64_t window_h;
  int64_t window_w;
  int64_t stride_w;
  int64_t pad_w;
  int64_t count;
  float* y;
};

/// One image, one block of 16 input channels, 32 output channels:
///   g[r][s][c][k] (+)= sum over p, q of x[p*stride_h + r - pad_h][q*stride_w + s - pad_w][c] *
///   dL_dy[p][q][k]
/// over the pixels inside the image, p-major; strips of p add to g one after another.
struct FilterGradientArgs {
  const float* x;       ///< H,W,16
  const float* dL_dy0;  ///< P,Q,16: output channels 0..15
  const float* dL_dy1;  ///< 16..31; dL_dy0 again where they do not exist
  int64_t h;
  int64_t w;
  int64_t p;
  int64_t q;
  int64_t r;
  int64_t s;
  int64_t stride_h;
  int64_t stride_w;
  int64_t pad_h;
  int64_t pad_w;
  int64_t channels;  ///< input channels of the block that exist; the rest of g may stay as it was
  float* g;          ///< R,S,16,32
  bool add;          ///< to g
};
/// sum += g, squares += g * g over rows * 32 elements, dots[k] += sum over rows of g[row][k] *
/// filter[row][k]; each may be null.
struct CombineFilterGradientArgs {
  const float* g;
  const float* filter;
  float* sum;
  float* squares;
  float* dots;
  int64_t rows;
};
/// dL_dx (+)= dL_dy * of_gradient + (x - mean) * of_deviation + constant, `pixels` of 16 channels; x may be
/// null (no second term).
struct BatchNormGradientArgs {
  const float* x;
  const float* dL_dy;
  const float* mean;
  const float* of_gradient;
  const float* of_deviation;
  const float* constant;
  float* dL_dx;
  bool accumulate;
  int64_t pixels;
};
/// As PoolRowArgs, backwards: `count` outputs' gradients are added to dL_dx, H,W,16.
struct PoolGradientRowArgs {
  const float* x;
  const float* dL_dy;
  int64_t h;
  int64_t w;
  int64_t h_begin;
  int64_t window_h;
  int64_t window_w;
  int64_t stride_w;
  int64_t pad_w;
  int64_t count;
  float* dL_dx;
};
/// Parts of kernels/optimizer.h's updates. squared_norm and penalty: this part's, lane i mod 16 in rising
/// order, then the lanes.
struct EwcBlockArgs {
  float* gradient;
  const float* theta;
  const float* anchor;
  const float* importance;
  double strength;
  int64_t count;
  double* squared_norm;
  double* penalty;
};
struct SgdBlockArgs {
  float* theta;
  float* velocity;
  const float* gradient;
  double factor;
  double rate;
  double momentum;
  double decay;
  bool first_step;
  int64_t count;
};
struct AdamBlockArgs {
  float* theta;
  float* first_moment;
  float* second_moment;
  const float* gradient;
  double rate;
  double beta1;
  double beta2;
  double epsilon;
  double decay;
  double first_correction;
  double second_correction;
  int64_t count;
};

enum class SimdGradient { kRelu, kLeakyRelu, kElu, kSigmoid, kExp };
enum class SimdUnary { kRelu, kAbs, kSquare, kSqrt, kExp, kSigmoid };
enum class SimdBinary { kAdd, kSubtract, kMultiply, kDivide };
enum class SimdReduce { kSum, kSumOfSquares, kMax, kMin };

struct MicroKernels {
  /// "baseline", "avx2", "avx512": from the macros of the compiler that compiled this table.
  const char* isa;
  /// Pixels in the largest register tile of tile_product.
  int64_t max_tile;
  /// Columns of one panel of gemm_panel, and floats of one vector.
  int64_t gemm_columns;
  int64_t vector_floats;
  /// Calls of the functions below; counted where they are compiled, so that a test can prove which set ran.
  int64_t (*calls)();

  void (*tile_product)(const TileProductArgs& args);
  void (*tile_product_narrow)(const TileProductArgs& args);
  void (*gemm_panel)(const GemmPanelArgs& args);
  void (*gemm_narrow)(const GemmNarrowArgs& args);
  void (*nearest_panel)(const NearestPanelArgs& args);
  /// y[c * y_stride + r] = x[r * x_stride + c], r < rows, c < columns.
  void (*transpose)(const float* x, int64_t x_stride, int64_t rows, int64_t columns, float* y,
                    int64_t y_stride);
  void (*winograd_input)(const WinogradInputArgs& args);
  /// The same of an output's gradient: A d A^T of 4x4 tiles d, zeros beyond h and w; no padding.
  void (*winograd_output_gradient)(const WinogradInputArgs& args);
  void (*winograd_output)(const WinogradOutputArgs& args);
  void (*winograd_filter)(const float* g, const double* transform, float* u, int64_t stride);
  /// g[tap][32] = G^T u G, in f64, taps g_stride floats apart: back from u[point][32].
  void (*winograd_filter_gradient)(const float* u, int64_t stride, const double* transform, float* g,
                                   int64_t g_stride);
  void (*linear)(const LinearArgs& args);
  void (*max_pool_row)(const PoolRowArgs& args);
  void (*avg_pool_row)(const PoolRowArgs& args);
  void (*unary)(SimdUnary op, const float* x, float* y, int64_t count);
  void (*binary)(SimdBinary op, const float* a, const float* b, float* y, int64_t count);
  /// y[i*16 + j] = x[i*16 + j] * scale[j] + shift[j], i < pixels.
  void (*affine_blocked)(const float* x, const float* scale, const float* shift, float* y, int64_t pixels);
  void (*affine)(const float* x, float scale, float shift, float* y, int64_t count);
  /// y[i] = exp(x[i] - largest); returns the sum of the y before rounding, in f64: lane i mod 16 in rising
  /// order, then the lanes.
  double (*exp_and_sum)(const float* x, float largest, float* y, int64_t count);
  /// y[i] = x[i] / divisor, in f64, rounded once.
  void (*divide)(const float* x, double divisor, float* y, int64_t count);
  /// Reduction of a contiguous line: lane i mod 16 in rising order, then the lanes in rising order; f64.
  double (*reduce_line)(SimdReduce op, const float* x, int64_t count);
  /// results[j] op= x[i*stride + j] for i < count in rising order, j < columns, in f64.
  void (*reduce_columns)(SimdReduce op, const float* x, int64_t count, int64_t stride, int64_t columns,
                         double* results);
  void (*add_rows)(const AddRowsArgs& args);
  void (*add_rows_exact)(const AddRowsExactArgs& args);
  void (*filter_gradient)(const FilterGradientArgs& args);
  void (*combine_filter_gradient)(const CombineFilterGradientArgs& args);
  /// sums[j] += sum over pixels in rising order of (a[j] - shift_a[j]) * (b[j] - shift_b[j]), j < 16
  /// channels, in f64.
  void (*channel_products)(const float* a, const double* shift_a, const float* b, const double* shift_b,
                           int64_t pixels, double* sums);
  void (*batch_norm_gradient)(const BatchNormGradientArgs& args);
  void (*unary_gradient)(SimdGradient op, const float* y, const float* dL_dy, float* dL_dx, float slope,
                         bool accumulate, int64_t count);
  void (*max_pool_gradient_row)(const PoolGradientRowArgs& args);
  void (*avg_pool_gradient_row)(const PoolGradientRowArgs& args);
  /// y (+)= x * factor in f64, rounded once.
  void (*scale)(const float* x, double factor, float* y, bool accumulate, int64_t count);
  /// sum of a[i] b[i] in f64: lane i mod 16 in rising order, then the lanes.
  double (*dot)(const float* a, const float* b, int64_t count);
  void (*ewc_block)(const EwcBlockArgs& args);
  void (*sgd_block)(const SgdBlockArgs& args);
  void (*adam_block)(const AdamBlockArgs& args);
  void (*f16_to_f32)(const uint16_t* x, float* y, int64_t count);
  void (*f32_to_f16)(const float* x, uint16_t* y, int64_t count);
  void (*bf16_to_f32)(const uint16_t* x, float* y, int64_t count);
  void (*f32_to_bf16)(const float* x, uint16_t* y, int64_t count);
};

/// The sum S of kernels/knn.h, of (q_i - x_i)^2 or of q_i x_i.
enum class ExactTerm { kSquaredDifference, kProduct };

/// S(q, x) for `query_count` rows against `gallery_count` rows, both already f64 and padded
/// with zeros to `d16` = a multiple of 16 elements. distances[query * gallery_count + row]. Compiled without
/// contraction: each operation rounds.
struct DistanceTileArgs {
  const double* queries;
  const double* gallery;
  int64_t query_count;
  int64_t gallery_count;
  int64_t d16;
  double* distances;
  ExactTerm term;
};
/// S(q, x) for one query, f64 and padded with zeros to a multiple of 16, against `count` rows of d f32.
struct DistanceRowsArgs {
  const double* query;
  const float* const* rows;
  int64_t count;
  int64_t d;
  double* distances;
  ExactTerm term;
};
struct ExactKernels {
  const char* isa;
  int64_t (*calls)();
  void (*distances)(const DistanceTileArgs& args);
  void (*distance_rows)(const DistanceRowsArgs& args);
};

namespace baseline {
extern const MicroKernels kKernels;
extern const ExactKernels kExactKernels;
}  // namespace baseline
namespace avx2 {
extern const MicroKernels kKernels;
extern const ExactKernels kExactKernels;
}  // namespace avx2
namespace avx512 {
extern const MicroKernels kKernels;
extern const ExactKernels kExactKernels;
}  // namespace avx512

}  // namespace panda::kernels::cpu
