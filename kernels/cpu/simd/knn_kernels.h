// The inner loops of the certified kNN search, one table per instruction set; the rule of micro_kernels.h
// holds here too. What the numbers mean: docs/derivations/knn_certificate.md.
#pragma once

#include <stdint.h>

namespace panda::kernels::cpu {

/// Gallery vectors in a panel.
constexpr int64_t kKnnPanel = 32;

/// Numbers that are ranked by comparing each with each, at most: that grows with their square.
constexpr int64_t kKnnMostRanked = 256;

/// What codes are. Four bytes are a group: one f32, two i16 or four i8 dimensions; of kI8Pair, i16 codes
/// taken apart as 256 high + low, a group is the high bytes of four dimensions and the next one their low
/// bytes. Bytes (kI8, kI8Pair) of a gallery are stored with 128 added (u8), as the multiply instruction wants
/// them.
enum class KnnCode { kF32, kI16, kI8, kI8Pair };
constexpr int kKnnCodes = 4;

/// A pair that the filter could not discard, with the product of its codes.
struct KnnHit {
  int32_t query;
  int32_t lane;
  double product;
};

/// One panel against a block of queries: pairs with
///   product(query, lane) >= c[lane] * inverse - theta(query),
///   theta = (base[query] + radius * beta[query] + reach * epsilon[query]) * inverse
/// (and possibly a few more: everything is rounded towards keeping a pair). Integer codes: |product| < 2^29.
struct KnnFilterArgs {
  const void* panel;    ///< [groups][32] groups
  const void* queries;  ///< as the kernel wants them (KnnKernels, KnnTileKernels)
  int64_t groups;
  int64_t query_count;
  const double* c;        ///< 32; >= 0, infinite for a lane without a vector
  double inverse;         ///< > 0
  double radius;          ///< >= 0
  double reach;           ///< >= 0
  const double* base;     ///< per query; may be +infinity: keep everything
  const double* beta;     ///< >= 0
  const double* epsilon;  ///< >= 0
  const int32_t* bias;    ///< per query, what KnnCode's added 128s bring: see KnnCoded
  int32_t* thresholds;    ///< room for query_count
  int32_t* sums;  ///< KnnTileKernels alone: room for 32 * query_count rounded up to 32, 64-byte aligned
  const void* next_panel;  ///< brought into the cache meanwhile; may be null
  KnnHit* hits;            ///< room for 32 * query_count
};

/// One panel against a block of queries: every product.
struct KnnProductsArgs {
  const void* panel;    ///< as in KnnFilterArgs
  const void* queries;  ///< as in KnnFilterArgs
  int64_t groups;
  int64_t query_count;
  const int32_t* bias;  ///< as in KnnFilterArgs
  int32_t* sums;        ///< as in KnnFilterArgs
  int64_t stride;       ///< words between two queries' products
  int32_t* words;       ///< [query_count][32]: i32, of kF32 the bits of f32
};

/// Bounds on the distances of one query and one panel's vectors (the derivation's low and high).
struct KnnBoundsArgs {
  KnnCode code;
  const int32_t* words;  ///< 32 products
  const double* c;       ///< 32 each
  const double* e;
  const double* n;
  double unit;  ///< of a product
  double beta;  ///< error = beta * e + epsilon * n + underflow
  double epsilon;
  double underflow;
  double query_low;  ///< N, rounded down and up
  double query_high;
  double slack;     ///< relative, of the sums' rounding
  double c_up;      ///< factor by which c may have been rounded down
  double rounding;  ///< factor of D's own rounding
  double* low;      ///< 32 each; not a number for a lane without a vector
  double* high;
};

struct KnnKernels {
  const char* isa;  ///< "baseline", "avx2", "avx512", "avx512vnni"
  int64_t (*calls)();
  /// Queries in the largest register tile. `queries` below are tiles of so many, the last one of what is
  /// left, each [groups][queries of the tile].
  int64_t max_tile;
  /// By KnnCode; returns the number of hits. Null: not on this instruction set.
  int64_t (*filter[kKnnCodes])(const KnnFilterArgs& args);

  /// By KnnCode; null where `filter` is.
  void (*products[kKnnCodes])(const KnnProductsArgs& args);
  void (*bounds)(const KnnBoundsArgs& args);
  /// A number that at least k of the values are at most: the k-th smallest, or one of the few next. No NaN;
  /// 1 <= k <= count.
  double (*about_kth)(const double* values, int64_t count, int64_t k);
  /// Places of the values that are at most `limit`, rising; returns how many. `places`: room for `count`.
  int64_t (*places_at_most)(const double* values, int64_t count, double limit, int32_t* places);

  /// How many of the values are less than each, which is its place among them if no two are equal. No NaN;
  /// count <= kKnnMostRanked.
  void (*ranks)(const double* values, int64_t count, int32_t* ranks);

  /// The largest |x[i]| as its bits: 0x7f800000 or more where one is infinite or NaN.
  uint32_t (*largest_magnitude)(const float* x, int64_t d);
  /// sum_i (query[i] - row[i])^2 of each row, in f32: relative error at most knn_refined_error(d).
  void (*squared_distances)(const float* query, const float* const* rows, int64_t count, int64_t d,
                            float* results);
  /// y[i] = x[i] * factor - center[i]; returns the largest |y[i]|, and the sum of squares (lane i mod 16,
  /// then the lanes).
  double (*center_row)(const float* x, const double* center, double factor, int64_t d, double* y,
                       double* sum_of_squares);
  /// codes[i] = y[i] * inverse_scale, rounded to nearest and kept within the code's range; pairs are still
  /// one i16 here and in code_error.
  void (*encode_row)(KnnCode code, const double* y, double inverse_scale, int64_t d, void* codes);
  /// sum_i (y[i] - scale * codes[i])^2, and the sum of codes[i]^2.
  double (*code_error)(KnnCode code, const double* y, double scale, const void* codes, int64_t d,
                       double* codes_squared);
  /// The sum of integer codes, modulo 2^32; of kF32 0.
  uint32_t (*code_sum)(KnnCode code, const void* codes, int64_t d);
};

/// Queries in two tiles of AMX, and bytes of a query in one.
constexpr int64_t kKnnTiledQueries = 32;
constexpr int64_t kKnnTileRowBytes = 64;
constexpr int64_t kKnnTileBytes = 1024;
/// Groups of four bytes that a step along the depth takes
constexpr int64_t knn_tiled_step(KnnCode code) {
  return code == KnnCode::kI8Pair ? 32 : 16;
}

/// The same on AMX tiles, 8-bit codes and pairs of them. `queries` are blocks of 32, each [steps][2 tiles][16
/// queries][64 bytes], of pairs [steps][high, low][2 tiles][16 queries][64 bytes]; 64-byte aligned, zeros
/// after the last component; what lies in place of queries after the last one does not matter. A step less
/// one group is read after a panel, whatever is there.
struct KnnTileKernels {
  int64_t (*calls)();
  /// Around calls of the functions below with so many queries, on their thread: the tiles are configured, and
  /// left again. Some 250 cycles.
  void (*begin)(int64_t queries);
  void (*end)();
  /// By KnnCode; null for what is not of bytes.
  int64_t (*filter[kKnnCodes])(const KnnFilterArgs& args);
  void (*products[kKnnCodes])(const KnnProductsArgs& args);
};

namespace baseline {
extern const KnnKernels kKnnKernels;
}
namespace avx2 {
extern const KnnKernels kKnnKernels;
}
namespace avx512 {
extern const KnnKernels kKnnKernels;
}
namespace avx512vnni {
extern const KnnKernels kKnnKernels;
}
namespace amx {
extern const KnnTileKernels kKnnTileKernels;
}

}  // namespace panda::kernels::cpu
