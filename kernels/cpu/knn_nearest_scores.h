// Scores of queries against few gallery rows, of which the best two are kept: the ways that knn_nearest.h has
// of taking them. They lie on f32 vectors, on 8-bit codes (AVX-512 VNNI), or on AMX tiles of bf16 pairs.
//
// All take score_j = |y_j|^2 - 2 <x - m, y_j>, y_j = c_j - m, which orders rows as D does, and bound its
// error by a multiple of |x - m| and a constant. m is 0 for f32, and else the rows' mean (less is lost of
// what is short).
//
//   f32   gamma = 1.01 (2 d) 2^-24: a chain of d multiply-adds, or of d products and additions
//         error = 2 gamma |x| C + 2^-22 (C^2 + 2 |x| C), the second term for |c|^2 and the last subtraction
//   bf16  a vector is high + low + rest with |low| <= 1.01 2^-9 |y|, |rest| <= 1.02 2^-18 |y| (the f32
//         subtraction of m with it), and rest y', low low' are not taken: 3.1 2^-18 |x - m| C, twice that for
//         -2. A sum of N = 3 ceil(d / 32) tiles' steps, each a sum of 32 products, rounds every term at most
//         N + 34 times: gamma = 1.01 (N + 34) 2^-24 of 2.02 |x - m| C + C^2. What flushing denormals to 0
//         takes is below 2^-100 (|x - m| + C + 1) sqrt(d).
//         Before that, the high parts alone, one product in place of three: with r what is left of x - m
//         beside high (measured, f32 subtraction included) and R the most that is left of a y_j, the error is
//         2 (r C + (|x - m| + r) R) and a sum's rounding, N = ceil(d / 32). Most queries' best two are
//         farther apart than twice that, and the others are scored again with three products.
//   i8    as high parts alone, with r and R what 8-bit codes leave: sums of codes' products are exact. The
//         score made of one loses 2^-16 of C^2 + 2 (|x - m| + r) (C + R), for the column's number in its
//         lowest bits and some roundings. That is too much to be sure of the nearest row, but not to name the
//         few that can be it: of these the distance itself is taken, in f32.
// C: the largest |y_j|. Norms are bounds from above.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cpu/knn_index.h"

namespace panda::kernels::cpu {

/// Of longer vectors a score could overflow, and is not trusted.
constexpr double kLongestTrusted = 1e18;

/// The best two scores of a query: `second` >= `best`, equal in a tie.
struct NearestFound {
  float best;
  float second;
  int64_t row;
  double norm;          ///< >= |x - m|; not finite if a component is not, or overflowed
  double error;         ///< >= |best - exact score|
  double second_error;  ///< no other row's exact score is below second less this
  double square;        ///< |x - m|^2, true to square_error() of itself and 2^-100; 0 if scores contain it

  /// That `row` is the nearest one; `longest`: C.
  [[nodiscard]] bool sure(double longest) const {
    const double both = norm + longest;
    const double margin = double{second} - double{best};
    return both < kLongestTrusted && margin > error + second_error + 0x1p-40 * both * both;
  }
};

class NearestScores {
 public:
  NearestScores() = default;
  NearestScores(const NearestScores&) = delete;
  NearestScores& operator=(const NearestScores&) = delete;
  virtual ~NearestScores() = default;

  /// Queries that are best searched together, and the bytes that this takes (64-byte aligned).
  [[nodiscard]] virtual int64_t block() const = 0;
  [[nodiscard]] virtual int64_t block_bytes() const = 0;
  /// queries: f32 *,d · members: which of its rows, null: the first ones · 1 <= count <= block().
  virtual void find(const float* queries, const int64_t* members, int64_t count, char* memory,
                    NearestFound* found) const = 0;
  [[nodiscard]] virtual double square_error() const = 0;
  /// C.
  [[nodiscard]] double longest() const { return longest_; }

 protected:
  double longest_ = 0;
};

/// A way of taking scores.
struct NearestWay {
  KnnFilter filter;  ///< what the scores are products of
  bool (*exists)(const CpuDevice& device);
  /// Of f32 rows; they are packed for this search.
  std::unique_ptr<NearestScores> (*make)(CpuDevice& device, const KnnRows& rows);
  /// Bytes that packing and a block on every thread take.
  int64_t (*bytes)(CpuDevice& device, int64_t rows, int64_t d);
  /// Estimated cycles per query, what is done once for all not among them.
  double (*cycles)(const CpuDevice& device, int64_t rows, int64_t d);
};
extern const NearestWay kNearestVectors;
extern const NearestWay kNearestCodes;
extern const NearestWay kNearestTiles;

/// The fastest one that the device has.
[[nodiscard]] const NearestWay& nearest_way(const CpuDevice& device);

}  // namespace panda::kernels::cpu
