// Scores of queries against few gallery rows, of which the best two are kept: the two ways that knn_nearest.h
// has of taking them. They lie on f32 vectors, or on AMX tiles of bf16 pairs.
//
// Both take score_j = |y_j|^2 - 2 <x - m, y_j>, y_j = c_j - m, which orders rows as D does, and both bound
// its error by a multiple of |x - m| and a constant. m is 0 for f32, and the rows' mean for bf16 (less is
// lost of what is short).
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
// C: the largest |y_j|. Norms are bounds from above.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cpu/knn_index.h"

namespace panda::kernels::cpu {

/// The best two scores of a query: `second` >= `best`, equal in a tie.
struct NearestFound {
  float best;
  float second;
  int64_t row;
  double norm;    ///< >= |x - m|; not finite if a component is not, or overflowed
  double error;   ///< >= |score - exact score|
  double square;  ///< |x - m|^2, true to square_error() of itself and 2^-100

  /// That `row` is the nearest one; `longest`: C.
  [[nodiscard]] bool sure(double longest) const {
    // Beyond this a score could overflow, and is not trusted.
    constexpr double kLongest = 1e18;
    const double both = norm + longest;
    const double margin = double{second} - double{best};
    return both < kLongest && margin > 2 * error + 0x1p-40 * both * both;
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

/// Of f32 rows; they are packed for this search.
[[nodiscard]] std::unique_ptr<NearestScores> nearest_scores(CpuDevice& device, const KnnRows& rows);

/// What the scores are products of.
[[nodiscard]] KnnFilter nearest_scores_filter(const CpuDevice& device);
/// Bytes that packing and a block on every thread take.
[[nodiscard]] int64_t nearest_scores_bytes(CpuDevice& device, int64_t rows, int64_t d);
/// Estimated cycles per query, of `queries`.
[[nodiscard]] double nearest_scores_cycles(const CpuDevice& device, int64_t rows, int64_t d, int64_t queries);

}  // namespace panda::kernels::cpu
